#define _GNU_SOURCE
#include "crowd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "clock.h"

enum { READY = 512, TURN_MS = 1 };

static struct stream_buffer buffer;

struct arrival {
    struct crowd *crowd;
    struct client *client;
    uint64_t now;
};

struct crowd *crowd_of(const struct options *options, struct session *plan)
{
    struct crowd *crowd = calloc(1, sizeof *crowd);
    if (!crowd)
        return NULL;
    *crowd = (struct crowd){.options = options, .plan = plan, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    crowd->watched = options->clients - options->storming;
    crowd->clients = calloc((size_t)options->clients, sizeof *crowd->clients);
    if (!crowd->clients || crowd->epoll < 0)
        return NULL;
    for (int index = 0; index < options->clients; index++) {
        struct client *client = &crowd->clients[index];
        client->fd = -1;
        client->session = index % options->sessions;
        snprintf(client->id, sizeof client->id, "%s", options->cursor);
    }
    return crowd;
}

static void note(struct crowd *crowd, const char *what, const char *text, size_t bytes)
{
    if (!*crowd->sample)
        snprintf(crowd->sample, sizeof crowd->sample, "%s: %.*s", what, bytes > 300 ? 300 : (int)bytes, text);
}

static void listen_for(struct crowd *crowd, struct client *client, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = client};
    epoll_ctl(crowd->epoll, operation, client->fd, &event);
}

static void lose(struct crowd *crowd, struct client *client)
{
    if (client->state == CLIENT_OPEN) {
        crowd->closed++;
        crowd->open--;
    } else {
        crowd->refused++;
        crowd->opening--;
    }
    client_drop(client);
    client->state = CLIENT_LOST;
}

static void opened(struct crowd *crowd, struct client *client, uint64_t now)
{
    client->state = CLIENT_OPEN;
    crowd->opening--;
    crowd->open++;
    histogram_add(&crowd->opened_us, now - client->asked_us);
}

static void count(struct crowd *crowd, struct client *client, struct stamp stamp, uint64_t now)
{
    if (stamp.session != (uint64_t)client->session)
        crowd->strays++;
    if (stamp.number > client->last + 1)
        crowd->gaps += stamp.number - client->last - 1;
    if (stamp.number <= client->last)
        crowd->repeats++;
    else
        client->last = stamp.number;
    client->count++;
    crowd->delivered++;
    if (!client->first_us)
        client->first_us = now;
    if (!crowd->first_us)
        crowd->first_us = now;
    crowd->last_us = now;
    if (client - crowd->clients >= crowd->watched)
        return;
    for (struct span *span = crowd->spans; span < crowd->spans + 2; span++)
        if (stamp.at_us >= span->from_us && stamp.at_us < span->to_us)
            histogram_add(&span->took_us, now - stamp.at_us);
}

static bool is(struct text text, const char *word)
{
    return text.bytes == strlen(word) && !memcmp(text.at, word, text.bytes);
}

static void take(void *owner, const struct frame *frame)
{
    struct arrival *arrival = owner;
    struct crowd *crowd = arrival->crowd;
    struct client *client = arrival->client;
    const struct session *session = &crowd->plan[client->session];
    struct stamp stamp;
    bool greets = *crowd->options->greeting && frame->event.at && is(frame->event, crowd->options->greeting);
    if (greets && client->state == CLIENT_ASKED)
        opened(crowd, client, arrival->now);
    else if (frame->data.bytes == session->payload_bytes && frame->data.at[frame->data.bytes - 1] == '}' &&
             stamp_read(frame->data.at + session->mark, &stamp))
        count(crowd, client, stamp, arrival->now);
    else if (++crowd->broken == 1)
        note(crowd, "broken", frame->data.at, frame->data.bytes);
    if (frame->id.at && frame->id.bytes < ID_BYTES) {
        memcpy(client->id, frame->id.at, frame->id.bytes);
        client->id[frame->id.bytes] = 0;
    }
}

static void read_some(struct crowd *crowd, struct client *client)
{
    ssize_t bytes = recv(client->fd, buffer.bytes, READ_BYTES, 0);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (bytes <= 0) {
        note(crowd, "closed", bytes ? strerror(errno) : "end", 20);
        lose(crowd, client);
        return;
    }
    struct arrival arrival = {crowd, client, now_us()};
    stream_take(&client->stream, &buffer, (size_t)bytes, take, &arrival);
    if (client->stream.phase > STREAM_BODY) {
        note(crowd, "not a stream any more", buffer.bytes, (size_t)bytes);
        lose(crowd, client);
        return;
    }
    if (client->state == CLIENT_ASKED && client->stream.phase == STREAM_BODY && !*crowd->options->greeting)
        opened(crowd, client, arrival.now);
    if (client->state == CLIENT_OPEN && crowd->options->leave) {
        crowd->open--;
        client_drop(client);
    }
}

static void serve(struct crowd *crowd, struct client *client)
{
    if (client->state != CLIENT_CONNECTING) {
        read_some(crowd, client);
    } else if (client_ask(client, crowd->plan[client->session].path)) {
        note(crowd, "connect", strerror(errno), 100);
        lose(crowd, client);
    } else {
        listen_for(crowd, client, EPOLL_CTL_MOD, EPOLLIN);
    }
}

static void enter_some(struct crowd *crowd)
{
    const struct options *options = crowd->options;
    for (; crowd->next < crowd->last && crowd->opening < crowd->at_once; crowd->next++) {
        struct client *client = &crowd->clients[crowd->next];
        crowd->opening++;
        if (client_connect(client, options->ports[crowd->next % options->port_count], now_us())) {
            note(crowd, "connect", strerror(errno), 100);
            lose(crowd, client);
        } else {
            listen_for(crowd, client, EPOLL_CTL_ADD, EPOLLOUT);
        }
    }
}

void crowd_enter(struct crowd *crowd, int first, int last, int at_once)
{
    crowd->next = first;
    crowd->last = last;
    crowd->at_once = at_once;
}

bool crowd_entered(const struct crowd *crowd)
{
    return crowd->next == crowd->last && crowd->opening == 0;
}

bool crowd_run(struct crowd *crowd, uint64_t until_us, bool (*done)(const struct crowd *crowd))
{
    struct epoll_event ready[READY];
    while (now_us() < until_us) {
        enter_some(crowd);
        if (done && done(crowd))
            return true;
        int count = epoll_wait(crowd->epoll, ready, READY, TURN_MS);
        for (int at = 0; at < count; at++)
            serve(crowd, ready[at].data.ptr);
    }
    return done && done(crowd);
}

void crowd_leave(struct crowd *crowd, int first, int last)
{
    for (struct client *client = crowd->clients + first; client < crowd->clients + last; client++)
        if (client->state == CLIENT_OPEN) {
            crowd->open--;
            client_drop(client);
        }
}
