#define _GNU_SOURCE
#include "publisher.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { TICK_US = 1000, PATIENCE_US = 10 * 1000 * 1000, BATCH_BYTES = 1 << 20, LINE_BYTES = 200 };

/* A line of the answers, as far as it came; the end of a long one is not looked at. */
struct line {
    char bytes[LINE_BYTES];
    size_t count;
};

static void read_line(struct publisher *publisher, const char *line)
{
    /* Anywhere in it: a body need not end with a line. */
    if (line[0] != '-' && strstr(line, publisher->options->acknowledged))
        publisher->acknowledged++;
    else if (!*publisher->refusal && (line[0] == '-' || strstr(line, "HTTP/1.1 ")))
        snprintf(publisher->refusal, sizeof publisher->refusal, "%s", line);
}

static void read_answers(struct publisher *publisher, struct line *line)
{
    static char bytes[1 << 16];
    for (ssize_t count; (count = recv(publisher->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;)
        for (const char *byte = bytes; byte < bytes + count; byte++) {
            if (*byte == '\n') {
                line->bytes[line->count] = 0;
                read_line(publisher, line->bytes);
                line->count = 0;
            } else if (line->count < LINE_BYTES - 1) {
                line->bytes[line->count++] = *byte;
            }
        }
}

/* Whether everything was taken in time. */
static int send_all(struct publisher *publisher, const char *bytes, size_t count, struct line *line)
{
    uint64_t until = now_us() + PATIENCE_US;
    while (count && now_us() < until) {
        ssize_t sent = send(publisher->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            count -= (size_t)sent;
            continue;
        }
        struct pollfd ready = {publisher->fd, POLLIN | POLLOUT, 0};
        poll(&ready, 1, 100);
        read_answers(publisher, line);
    }
    return !count;
}

/* The request for the next event of a session, at `to`; returns its length. */
static size_t request(struct publisher *publisher, char *to, uint64_t index)
{
    size_t number = index % (uint64_t)publisher->options->sessions;
    struct session *session = &publisher->plan[number];
    char *at = to, sequence[24];
    session->published++;
    if (session->head_bytes) {
        int digits = snprintf(sequence, sizeof sequence, "%lld",
                              (long long)publisher->options->first_sequence + (long long)session->published - 1);
        at = mempcpy(at, session->head, session->head_bytes);
        at += sprintf(at, "$%d\r\n%s\r\n", digits, sequence);
    }
    memcpy(at, session->tail, session->tail_bytes);
    stamp_write(at + session->stamp, (struct stamp){now_us(), session->published, number});
    return (size_t)(at - to) + session->tail_bytes;
}

static size_t largest_request(const struct publisher *publisher)
{
    size_t largest = 0;
    for (const struct session *s = publisher->plan; s < publisher->plan + publisher->options->sessions; s++)
        if (s->head_bytes + s->tail_bytes + 64 > largest)
            largest = s->head_bytes + s->tail_bytes + 64;
    return largest;
}

static void *publish(void *given)
{
    struct publisher *publisher = given;
    double rate = publisher->options->rate;
    size_t room = BATCH_BYTES - largest_request(publisher);
    char *batch = malloc(BATCH_BYTES);
    struct line line = {0};
    uint64_t began = now_us();
    int taken = batch != NULL;
    for (uint64_t tick = began; taken && !atomic_load(&publisher->stopping); tick += TICK_US) {
        sleep_until_us(tick);
        uint64_t now = now_us(), due = (uint64_t)((double)(now - began) * rate / 1e6);
        size_t bytes = 0;
        for (; publisher->published < due && bytes < room; publisher->published++) {
            double planned = (double)(publisher->published + 1) * 1e6 / rate;
            histogram_add(&publisher->late_us, (uint64_t)((double)(now - began) - planned));
            bytes += request(publisher, batch + bytes, publisher->published);
        }
        taken = send_all(publisher, batch, bytes, &line);
        read_answers(publisher, &line);
        if (tick + TICK_US < now)
            tick = now - TICK_US; /* what was missed is due at once, not tick by tick */
    }
    for (uint64_t until = now_us() + PATIENCE_US; publisher->acknowledged < publisher->published && now_us() < until;) {
        struct pollfd ready = {publisher->fd, POLLIN, 0};
        poll(&ready, 1, 10);
        read_answers(publisher, &line);
    }
    free(batch);
    atomic_store(&publisher->stopped, true);
    return NULL;
}

int publisher_start(struct publisher *publisher, const struct options *options, struct session *plan)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)options->publish_port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *publisher = (struct publisher){.options = options, .plan = plan};
    publisher->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (publisher->fd < 0 || connect(publisher->fd, (const struct sockaddr *)&to, sizeof to))
        return -1;
    setsockopt(publisher->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return pthread_create(&publisher->thread, NULL, publish, publisher) ? -1 : 0;
}

void publisher_join(struct publisher *publisher)
{
    pthread_join(publisher->thread, NULL);
    close(publisher->fd);
}
