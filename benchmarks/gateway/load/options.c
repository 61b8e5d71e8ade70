#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
    const char *name;
    enum { TEXT, INT, LONG, SECONDS, PORT_LIST } kind;
    void *value;
};

static void read_ports(const char *text, struct options *options)
{
    char *end;
    for (long port; options->port_count < PORTS && (port = strtol(text, &end, 10)) > 0; text = *end ? end + 1 : end)
        options->ports[options->port_count++] = (int)port;
}

static void set(const struct setting *setting, const char *text, struct options *options)
{
    switch (setting->kind) {
    case TEXT: *(const char **)setting->value = text; break;
    case INT: *(int *)setting->value = atoi(text); break;
    case LONG: *(long *)setting->value = atol(text); break;
    case SECONDS: *(double *)setting->value = atof(text); break;
    case PORT_LIST: read_ports(text, options); break;
    }
}

struct options options_read(int count, char **words)
{
    static struct options o = {.mode = "", .plan = "", .greeting = "", .cursor = "", .acknowledged = "",
                               .gateway_pids = "", .store_pids = "", .at_once = 64, .drain_s = 10};
    const struct setting settings[] = {
        {"--mode", TEXT, &o.mode},
        {"--plan", TEXT, &o.plan},
        {"--ports", PORT_LIST, NULL},
        {"--sessions", INT, &o.sessions},
        {"--clients", INT, &o.clients},
        {"--at-once", INT, &o.at_once},
        {"--leave", INT, &o.leave},
        {"--greeting", TEXT, &o.greeting},
        {"--cursor", TEXT, &o.cursor},
        {"--missed", LONG, &o.missed},
        {"--publish-port", INT, &o.publish_port},
        {"--acknowledged", TEXT, &o.acknowledged},
        {"--first-sequence", LONG, &o.first_sequence},
        {"--rate", SECONDS, &o.rate},
        {"--settle-s", SECONDS, &o.settle_s},
        {"--warm-s", SECONDS, &o.warm_s},
        {"--measure-s", SECONDS, &o.measure_s},
        {"--drain-s", SECONDS, &o.drain_s},
        {"--storming", INT, &o.storming},
        {"--gateway-pids", TEXT, &o.gateway_pids},
        {"--store-pids", TEXT, &o.store_pids},
    };
    const int known = sizeof settings / sizeof *settings;
    for (int at = 1; at < count; at += 2) {
        int found = 0;
        while (found < known && strcmp(words[at], settings[found].name))
            found++;
        if (found == known || at + 1 == count) {
            fprintf(stderr, "load: %s: expected --name value\n", words[at]);
            exit(2);
        }
        set(&settings[found], words[at + 1], &o);
    }
    if (!*o.mode || !*o.plan || !o.port_count || o.sessions < 1 || o.clients < 1) {
        fprintf(stderr, "load: expected --mode, --plan, --ports, --sessions and --clients\n");
        exit(2);
    }
    return o;
}
