/* Runs a fuzz target without libFuzzer: over inputs, and over mutations of them.
 *
 *     fuzz_X FILE|FOLDER...        GYRE_FUZZ_MUTATIONS=N: so many (none)
 *
 * The mutations are the same in every run, and by number, not by time: a test that goes further on
 * a faster machine fails there alone. An input that fails is left behind as crash-replay, to be run
 * again. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX 65536u
#define INPUTS_MAX 1024u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The sanitizers', where there are any: they end the process without a signal. */
void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));

struct input {
    uint8_t *bytes;
    size_t size;
};

static struct input inputs[INPUTS_MAX];
static unsigned count;
static struct input running;
static uint64_t luck = 1;

/* --- What is left behind ------------------------------------------------------------------ */

static void keep_running(void) {
    int fd = open("crash-replay", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd >= 0 && write(fd, running.bytes, running.size) == (ssize_t)running.size) {
        static const char said[] = "the input is in crash-replay\n";
        (void)!write(STDERR_FILENO, said, sizeof said - 1);
    }
}

static void on_signal(int number) {
    keep_running();
    signal(number, SIG_DFL);
    raise(number);
}

/* --- Mutations ----------------------------------------------------------------------------- */

/* xorshift64*: the same mutations in every run. */
static uint32_t draw(uint32_t below) {
    luck ^= luck >> 12;
    luck ^= luck << 25;
    luck ^= luck >> 27;
    return (uint32_t)((luck * 2685821657736338717u) >> 32) % below;
}

/* A piece of any input goes in at the place. */
static size_t put_in(uint8_t *data, size_t size, uint32_t at) {
    const struct input *from = &inputs[draw(count)];
    if (from->size == 0) {
        return size;
    }
    uint32_t begin = draw((uint32_t)from->size);
    uint32_t len = 1 + draw((uint32_t)from->size - begin);
    if (size + len > INPUT_MAX) {
        return size;
    }
    memmove(data + at + len, data + at, size - at);
    memcpy(data + at, from->bytes + begin, len);
    return size + len;
}

/* One small change: a bit, a byte, a run taken out or doubled, a piece of another input. */
static size_t mutate(uint8_t *data, size_t size) {
    if (size < 2) {
        return size;
    }
    uint32_t at = draw((uint32_t)size);
    uint32_t len = 1 + draw((uint32_t)(size - at));
    switch (draw(5)) {
    case 0:
        data[at] ^= (uint8_t)(1u << draw(8));
        return size;
    case 1:
        data[at] = (uint8_t)draw(256);
        return size;
    case 2:
        memmove(data + at, data + at + len, size - at - len);
        return size - len;
    case 3:
        return put_in(data, size, at);
    default:
        if (size + len > INPUT_MAX) {
            return size;
        }
        memmove(data + at + len, data + at, size - at);
        return size + len;
    }
}

/* In memory of its exact size, so that the sanitizer sees the first byte behind it. */
static void try(const uint8_t *data, size_t size) {
    running.bytes = malloc(size > 0 ? size : 1);
    running.size = size;
    if (running.bytes == NULL) {
        abort();
    }
    memcpy(running.bytes, data, size);
    (void)LLVMFuzzerTestOneInput(running.bytes, size);
    free(running.bytes);
    running = (struct input){0};
}

static void try_mutations(unsigned long wanted) {
    static uint8_t data[INPUT_MAX];
    for (unsigned long tried = 0; tried < wanted; tried++) {
        const struct input *input = &inputs[tried % count];
        size_t size = input->size;
        memcpy(data, input->bytes, size);
        for (uint32_t n = 1 + draw(4); n > 0; n--) {
            size = mutate(data, size);
        }
        try(data, size);
    }
}

/* --- Inputs -------------------------------------------------------------------------------- */

static void die(const char *path) {
    perror(path);
    exit(1);
}

static void read_file(const char *path) {
    static uint8_t data[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL || count == INPUTS_MAX) {
        die(path);
    }
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    inputs[count] = (struct input){malloc(size + 1), size};
    if (inputs[count].bytes == NULL) {
        die(path);
    }
    memcpy(inputs[count++].bytes, data, size);
}

static void read_folder(const char *path) {
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort);
    if (n < 0) {
        die(path);
    }
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.') {
            read_file(file);
        }
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv) {
    const char *wanted = getenv("GYRE_FUZZ_MUTATIONS");
    unsigned long mutations = wanted != NULL ? strtoul(wanted, NULL, 10) : 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) != 0) {
            die(argv[i]);
        }
        if (S_ISDIR(st.st_mode)) {
            read_folder(argv[i]);
        } else {
            read_file(argv[i]);
        }
    }
    if (count == 0) {
        fprintf(stderr, "usage: %s FILE|FOLDER...: no input\n", argv[0]);
        return 2;
    }
    signal(SIGABRT, on_signal);
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(keep_running);
    } else {
        signal(SIGSEGV, on_signal);
    }
    for (unsigned i = 0; i < count; i++) {
        try(inputs[i].bytes, inputs[i].size);
    }
    try_mutations(mutations);
    printf("%u inputs, %lu mutations\n", count, mutations);
    for (unsigned i = 0; i < count; i++) {
        free(inputs[i].bytes);
    }
    return 0;
}
