/* Runs a fuzz target without libFuzzer: over its corpus, and over seeded mutations of it. */
#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t luck = 1;

/* xorshift64*: the same mutations in every run. */
static uint32_t draw(uint32_t below) {
    luck ^= luck >> 12;
    luck ^= luck << 25;
    luck ^= luck >> 27;
    return (uint32_t)((luck * 2685821657736338717u) >> 32) % below;
}

/* One small change: a bit, a byte, a run taken out, or a run doubled. */
static size_t mutate(uint8_t *data, size_t size) {
    if (size < 2)
        return size;
    uint32_t at = draw((uint32_t)size);
    uint32_t len = 1 + draw((uint32_t)(size - at));
    switch (draw(4)) {
    case 0:
        data[at] ^= (uint8_t)(1u << draw(8));
        return size;
    case 1:
        data[at] = (uint8_t)draw(256);
        return size;
    case 2:
        memmove(data + at, data + at + len, size - at - len);
        return size - len;
    default:
        if (size + len > INPUT_MAX)
            return size;
        memmove(data + at + len, data + at, size - at);
        return size + len;
    }
}

/* In memory of its exact size, so that the sanitizer sees the first byte behind it. */
static void try(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size > 0 ? size : 1);
    if (exact == NULL)
        abort();
    memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static size_t read_file(const char *path, uint8_t *data) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    size_t size = fread(data, 1, INPUT_MAX, file);
    fclose(file);
    return size;
}

static void replay_file(const char *path, unsigned rounds) {
    static uint8_t seed[INPUT_MAX], data[INPUT_MAX];
    size_t seed_size = read_file(path, seed);

    try(seed, seed_size);
    for (unsigned i = 0; i < rounds; i++) {
        size_t size = seed_size;
        memcpy(data, seed, size);
        for (uint32_t n = 1 + draw(4); n > 0; n--)
            size = mutate(data, size);
        try(data, size);
    }
}

int main(int argc, char **argv) {
    const char *rounds = getenv("GYRE_FUZZ_ROUNDS");
    unsigned count = 0;
    char path[4096];

    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
        return 2;
    }
    struct dirent **names;
    int n = scandir(argv[1], &names, NULL, alphasort);
    if (n < 0) {
        perror(argv[1]);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", argv[1], names[i]->d_name);
            replay_file(path, rounds != NULL ? (unsigned)strtoul(rounds, NULL, 10) : 2000);
            count++;
        }
        free(names[i]);
    }
    free(names);
    printf("%u inputs and their mutations\n", count);
    return count > 0 ? 0 : 1;
}
