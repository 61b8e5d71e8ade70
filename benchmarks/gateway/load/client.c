#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int client_connect(struct client *client, int port, uint64_t now)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    client->asked_us = now;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return -1;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(client->fd, (const struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        return -1;
    client->state = CLIENT_CONNECTING;
    return 0;
}

int client_ask(struct client *client, const char *path)
{
    char request[1024];
    int failed = 0;
    socklen_t size = sizeof failed;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &failed, &size);
    if (failed) {
        errno = failed;
        return -1;
    }
    int bytes = snprintf(request, sizeof request,
                         "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s%s%s\r\n", path,
                         *client->id ? "Last-Event-ID: " : "", client->id, *client->id ? "\r\n" : "");
    client->state = CLIENT_ASKED;
    return send(client->fd, request, (size_t)bytes, MSG_NOSIGNAL) == bytes ? 0 : -1;
}

void client_drop(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->state = CLIENT_AWAY;
    stream_reset(&client->stream);
}
