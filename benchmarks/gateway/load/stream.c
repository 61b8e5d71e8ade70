#define _GNU_SOURCE
#include "stream.h"

#include <stdlib.h>
#include <string.h>

static void keep(struct stream *stream, const char *bytes, size_t count)
{
    if (count > REST_BYTES) {
        stream->phase = STREAM_BROKEN;
        return;
    }
    if (count > stream->rest_room) {
        free(stream->rest);
        stream->rest_room = count < 512 ? 512 : count;
        stream->rest = malloc(stream->rest_room);
        if (!stream->rest)
            abort();
    }
    memcpy(stream->rest, bytes, count);
    stream->rest_bytes = count;
}

/* The kept bytes, put in front of those just read. */
static char *joined(struct stream *stream, char *bytes)
{
    char *begin = bytes - stream->rest_bytes;
    memcpy(begin, stream->rest, stream->rest_bytes);
    stream->rest_bytes = 0;
    return begin;
}

static int hex(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Takes the chunked encoding off, in place; returns how many bytes of body are left, from the front. */
static size_t unchunked(struct stream *stream, char *bytes, size_t count)
{
    const char *from = bytes, *end = bytes + count;
    char *to = bytes;
    while (from < end && stream->phase == STREAM_BODY) {
        if (stream->chunk == CHUNK_DATA) {
            size_t part = (size_t)(end - from) < stream->chunk_left ? (size_t)(end - from) : stream->chunk_left;
            memmove(to, from, part);
            to += part;
            from += part;
            stream->chunk_left -= part;
            if (!stream->chunk_left)
                stream->chunk = CHUNK_END;
            continue;
        }
        char next = *from++;
        int digit = hex(next);
        if (stream->chunk == CHUNK_END) {
            if (next == '\n')
                stream->chunk = CHUNK_SIZE;
        } else if (next == '\n') {
            stream->chunk = CHUNK_DATA;
            if (!stream->chunk_left)
                stream->phase = STREAM_ENDED;
        } else if (stream->chunk == CHUNK_SIZE && digit >= 0) {
            stream->chunk_left = stream->chunk_left * 16 + (size_t)digit;
        } else {
            stream->chunk = CHUNK_EXTENSION;
        }
    }
    return (size_t)(to - bytes);
}

static int field(const char *line, size_t bytes, const char *name, size_t name_bytes, struct text *value)
{
    if (bytes < name_bytes || memcmp(line, name, name_bytes))
        return 0;
    if (bytes > name_bytes && line[name_bytes] == ' ')
        name_bytes++;
    *value = (struct text){line + name_bytes, bytes - name_bytes};
    return 1;
}

static void frames(struct stream *stream, char *begin, const char *end, frame_sink *sink, void *owner)
{
    struct frame frame = {0};
    const char *whole = begin;
    for (const char *line = begin, *feed; (feed = memchr(line, '\n', (size_t)(end - line))); line = feed + 1) {
        size_t bytes = (size_t)(feed - line) - (feed > line && feed[-1] == '\r');
        if (bytes) {
            if (!field(line, bytes, "data:", 5, &frame.data) && !field(line, bytes, "id:", 3, &frame.id))
                field(line, bytes, "event:", 6, &frame.event);
            continue;
        }
        if (frame.data.at)
            sink(owner, &frame);
        frame = (struct frame){0};
        whole = feed + 1;
    }
    keep(stream, whole, (size_t)(end - whole));
}

/* Past the head, when it is whole; NULL when it is not, or not one of a stream. */
static char *past_head(struct stream *stream, char *begin, const char *end)
{
    char *blank = memmem(begin, (size_t)(end - begin), "\r\n\r\n", 4);
    if (!blank) {
        keep(stream, begin, (size_t)(end - begin));
        if (end - begin > HEAD_BYTES)
            stream->phase = STREAM_REFUSED;
        return NULL;
    }
    if (memcmp(begin, "HTTP/1.1 200", 12)) {
        stream->phase = STREAM_REFUSED;
        return NULL;
    }
    *blank = 0;
    stream->chunk = strcasestr(begin, "\r\ntransfer-encoding: chunked") ? CHUNK_SIZE : CHUNK_NONE;
    stream->phase = STREAM_BODY;
    return blank + 4;
}

void stream_take(struct stream *stream, struct stream_buffer *buffer, size_t count, frame_sink *sink, void *owner)
{
    char *bytes = buffer->bytes, *end = bytes + count;
    if (stream->phase == STREAM_HEAD) {
        bytes = past_head(stream, joined(stream, bytes), end);
        if (!bytes)
            return;
    }
    if (stream->chunk != CHUNK_NONE)
        end = bytes + unchunked(stream, bytes, (size_t)(end - bytes));
    frames(stream, joined(stream, bytes), end, sink, owner);
}

void stream_reset(struct stream *stream)
{
    stream->phase = STREAM_HEAD;
    stream->chunk = CHUNK_NONE;
    stream->chunk_left = stream->rest_bytes = 0;
}
