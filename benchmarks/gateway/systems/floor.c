/* The least that a server of events can do: `./floor PORT`, one thread, one send() for each delivery. GET /NUMBER is a
 * stream of that channel, POST /NUMBER publishes its body there. No history, no memory bounds, no slow clients: what
 * it costs is the floor under all servers that write to each client by itself.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHANNELS = 20000, FILES = 65536, READY = 256, BODY = 1 << 16 };

struct channel {
    int *subscribers;
    int count, room;
    unsigned long published;
};

/* Bytes of a publisher that are not a whole request yet. */
struct connection {
    char *rest;
    size_t bytes;
    int channel; /* that it subscribes to, or -1 */
};

static struct channel channels[CHANNELS];
static struct connection connections[FILES];

static const char STREAM[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
                             "transfer-encoding: chunked\r\n\r\n";
static const char ACCEPTED[] = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

static void subscribe(int file, int number)
{
    struct channel *channel = &channels[number];
    if (channel->count == channel->room) {
        channel->room = channel->room ? 2 * channel->room : 4;
        channel->subscribers = realloc(channel->subscribers, (size_t)channel->room * sizeof(int));
        if (!channel->subscribers)
            abort();
    }
    channel->subscribers[channel->count++] = file;
    connections[file].channel = number;
    send(file, STREAM, sizeof STREAM - 1, MSG_NOSIGNAL);
}

static void leave(int file)
{
    struct connection *connection = &connections[file];
    struct channel *channel = connection->channel < 0 ? NULL : &channels[connection->channel];
    for (int at = 0; channel && at < channel->count; at++)
        if (channel->subscribers[at] == file) {
            channel->subscribers[at] = channel->subscribers[--channel->count];
            break;
        }
    free(connection->rest);
    *connection = (struct connection){.channel = -1};
    close(file);
}

/* One chunk with one frame, to every subscriber. */
static void publish(int number, const char *body, size_t bytes)
{
    static char frame[BODY + 128];
    struct channel *channel = &channels[number];
    char head[64];
    int head_bytes = snprintf(head, sizeof head, "event: output\nid: %lu\ndata: ", ++channel->published);
    int at = snprintf(frame, sizeof frame, "%zx\r\n", (size_t)head_bytes + bytes + 2);
    char *end = mempcpy(mempcpy(mempcpy(frame + at, head, (size_t)head_bytes), body, bytes), "\n\n\r\n", 4);
    for (int subscriber = 0; subscriber < channel->count; subscriber++)
        send(channel->subscribers[subscriber], frame, (size_t)(end - frame), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The number at the end of a request's path, or -1. */
static int channel_of(const char *request)
{
    const char *slash = strchr(request, '/');
    int number = slash ? atoi(slash + 1) : -1;
    return number >= 0 && number < CHANNELS ? number : -1;
}

/* Publishes one request; returns its length, or 0 when it is not whole. Its end is marked by a 0. */
static size_t take_request(const char *request, size_t bytes)
{
    const char *blank = memmem(request, bytes, "\r\n\r\n", 4);
    const char *length = strcasestr(request, "content-length: ");
    if (!blank || !length || length > blank)
        return 0;
    size_t body = (size_t)atol(length + 16), whole = (size_t)(blank - request) + 4 + body;
    int number = channel_of(request);
    if (whole > bytes || body > BODY || number < 0)
        return 0;
    publish(number, blank + 4, body);
    return whole;
}

static void take_requests(int file, const char *bytes, size_t count)
{
    struct connection *connection = &connections[file];
    connection->rest = realloc(connection->rest, connection->bytes + count + 1);
    if (!connection->rest)
        abort();
    memcpy(connection->rest + connection->bytes, bytes, count);
    connection->bytes += count;
    connection->rest[connection->bytes] = 0;
    size_t done = 0, one;
    while ((one = take_request(connection->rest + done, connection->bytes - done))) {
        send(file, ACCEPTED, sizeof ACCEPTED - 1, MSG_NOSIGNAL);
        done += one;
    }
    connection->bytes -= done;
    memmove(connection->rest, connection->rest + done, connection->bytes);
}

static void serve(int file)
{
    static char bytes[1 << 18];
    ssize_t count = recv(file, bytes, sizeof bytes - 1, MSG_DONTWAIT);
    if (count <= 0) {
        leave(file);
        return;
    }
    bytes[count] = 0;
    if (!connections[file].bytes && !strncmp(bytes, "GET ", 4) && channel_of(bytes) >= 0)
        subscribe(file, channel_of(bytes));
    else
        take_requests(file, bytes, (size_t)count);
}

static void accept_all(int listener, int epoll)
{
    for (int file; (file = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        connections[file] = (struct connection){.channel = -1};
        epoll_ctl(epoll, EPOLL_CTL_ADD, file, &(struct epoll_event){.events = EPOLLIN, .data.fd = file});
    }
}

int main(int count, char **words)
{
    struct rlimit files;
    struct epoll_event ready[READY];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons((uint16_t)(count == 2 ? atoi(words[1]) : 0));
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (const struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) {
        perror("floor");
        return 1;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    for (;;) {
        int some = epoll_wait(epoll, ready, READY, -1);
        for (int each = 0; each < some; each++)
            if (ready[each].data.fd == listener)
                accept_all(listener, epoll);
            else
                serve(ready[each].data.fd);
    }
}
