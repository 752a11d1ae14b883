/* The settings structs of a conf: made, found, and freed, by section. */
#include "base/ensure.h"
#include "base/mem.h"
#include "conf/conf_priv.h"

static void *object_at(struct conf *conf, enum conf_section section, uint32_t index) {
    switch (section) {
    case CONF_SECTION_global:
        return &conf->global;
    case CONF_SECTION_listener:
        return &conf->listeners[index];
    case CONF_SECTION_route:
        return &conf->routes[index];
    default:
        ensure(section == CONF_SECTION_backend);
        return &conf->backends[index];
    }
}

static uint32_t object_count(const struct conf *conf, enum conf_section section) {
    return section == CONF_SECTION_listener  ? conf->listener_count
           : section == CONF_SECTION_route   ? conf->route_count
           : section == CONF_SECTION_backend ? conf->backend_count
                                             : 1;
}

uint32_t object_add(struct conf *conf, enum conf_section section, const char *name,
                    uint32_t line) {
    uint32_t at;
    switch (section) {
    case CONF_SECTION_global:
        at = 0;
        conf->global.line = line;
        break;
    case CONF_SECTION_listener:
        at = conf->listener_count++;
        conf->listeners = items_grow(conf->listeners, at, sizeof(*conf->listeners));
        conf->listeners[at] = (struct conf_listener){.name = name, .line = line,
                                                     .backend_index = -1};
        break;
    case CONF_SECTION_route:
        at = conf->route_count++;
        conf->routes = items_grow(conf->routes, at, sizeof(*conf->routes));
        conf->routes[at] = (struct conf_route){.name = name, .line = line, .listener_index = -1};
        break;
    default:
        ensure(section == CONF_SECTION_backend);
        at = conf->backend_count++;
        conf->backends = items_grow(conf->backends, at, sizeof(*conf->backends));
        conf->backends[at] = (struct conf_backend){.name = name, .line = line};
        break;
    }
    return at;
}

void *part_object(const struct load *load, const struct part *part) {
    return object_at(load->conf, part->section, part->index);
}

const char *part_name(const struct load *load, const struct part *part) {
    switch (part->section) {
    case CONF_SECTION_listener:
        return load->conf->listeners[part->index].name;
    case CONF_SECTION_route:
        return load->conf->routes[part->index].name;
    case CONF_SECTION_backend:
        return load->conf->backends[part->index].name;
    default:
        return "";
    }
}

void defaults_set(struct load *load, enum conf_section section, uint32_t index) {
    uint32_t errors = load->errors->count;
    for (enum conf_key_id id = 0; id < KEY_COUNT; id++) {
        const struct conf_key *key = key_row(id);
        if (key->section == section && key->fallback != NULL && *key->fallback != '\0') {
            char *object = object_at(load->conf, section, index);
            type_set(load, key, object + key->offset, str_of(key->fallback));
        }
    }
    ensure(load->errors->count == errors);
}

static void object_free(struct conf *conf, enum conf_section section, uint32_t index) {
    char *object = object_at(conf, section, index);
    for (enum conf_key_id id = 0; id < KEY_COUNT; id++) {
        if (key_row(id)->section == section) {
            type_release(key_row(id), object + key_row(id)->offset);
        }
    }
}

void conf_free(struct conf *conf) {
    if (conf == NULL) {
        return;
    }
    for (enum conf_section section = 0; section < CONF_SECTION_COUNT; section++) {
        for (uint32_t i = 0; i < object_count(conf, section); i++) {
            object_free(conf, section, i);
        }
    }
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        mem_free((char *)conf->listeners[i].name);
        mem_free(conf->listeners[i].bind_lines);
    }
    for (uint32_t i = 0; i < conf->route_count; i++) {
        mem_free((char *)conf->routes[i].name);
    }
    for (uint32_t i = 0; i < conf->backend_count; i++) {
        mem_free((char *)conf->backends[i].name);
    }
    mem_free(conf->listeners);
    mem_free(conf->routes);
    mem_free(conf->backends);
    mem_free((char *)conf->path);
    mem_free(conf);
}
