/* The setters of lists, which stand in a file of their own. */
#ifndef GYRE_CONF_TYPES_PRIV_H
#define GYRE_CONF_TYPES_PRIV_H

#include "conf/conf_priv.h"

void type_set_blocks(struct load *, const struct conf_key *, void *member, struct str text);
void type_set_files(struct load *, const struct conf_key *, void *member, struct str text);
void type_set_hosts(struct load *, const struct conf_key *, void *member, struct str text);
void type_set_resolvers(struct load *, const struct conf_key *, void *member, struct str text);
void type_set_addrs(struct load *, const struct conf_key *, void *member, struct str text);
void type_set_servers(struct load *, const struct conf_key *, void *member, struct str text);

#endif
