/* One client of one session: its connection, and what it has seen. */
#pragma once

#include <stdint.h>

#include "plan.h"
#include "stream.h"

enum { ID_BYTES = 64 };

struct client {
    struct stream stream;
    int fd;
    enum { CLIENT_AWAY, CLIENT_CONNECTING, CLIENT_ASKED, CLIENT_OPEN, CLIENT_LOST } state;
    int session;
    uint64_t asked_us;  /* when it began to connect */
    uint64_t first_us;  /* when its first event came */
    uint64_t last;      /* the number of the last event it was shown */
    uint64_t count;     /* how many it was shown */
    char id[ID_BYTES];  /* the cursor: the last id it was sent */
};

/* Begins to connect to a port of loopback. Returns -1 when that is refused at once, errno says why. */
int client_connect(struct client *client, int port, uint64_t now);

/* Sends the request for its session's stream, from its cursor where it has one. Returns -1 when it cannot. */
int client_ask(struct client *client, const char *path);

/* Drops the connection, with whatever is on its way. What it has seen stays. */
void client_drop(struct client *client);
