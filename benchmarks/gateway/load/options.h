/* What to do, from the command line: `--name value` each. */
#pragma once

enum { PORTS = 16 };

struct options {
    const char *mode;             /* live, idle, replay, storm */
    const char *plan;             /* a file: see plan.h */
    int ports[PORTS], port_count; /* of the gateways; clients are dealt to them in turn */
    int sessions, clients;
    int at_once;                  /* connects in flight at most */
    int leave;                    /* idle: each client leaves as soon as its stream is open */
    const char *greeting;         /* the event that opens a stream; empty: the response's head does */
    const char *cursor;           /* replay: the Last-Event-ID of every client; empty: none is sent */
    long missed;                  /* replay: events that follow the cursor */
    int publish_port;
    const char *acknowledged;     /* what stands in the one line that answers a published event */
    long first_sequence;          /* of the first event of each session, where requests carry one */
    double rate;                  /* events a second, of all sessions together */
    double settle_s, warm_s, measure_s, drain_s;
    int storming;                 /* storm: the last so many clients drop and come back */
    const char *gateway_pids, *store_pids;
};

/* Ends the program with status 2 for what it does not know. */
struct options options_read(int count, char **words);
