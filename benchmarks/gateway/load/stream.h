/* One HTTP response that is a stream of server-sent events, read as its bytes come: head, chunks, lines, frames. */
#pragma once

#include <stddef.h>

enum {
    REST_BYTES = 1 << 16, /* of a frame that is not whole yet: the longest that is read */
    READ_BYTES = 1 << 18,
    HEAD_BYTES = 1 << 13,
};

struct text {
    const char *at;
    size_t bytes;
};

/* Of the fields that repeat, the last. `data` of several lines is none of ours and counts as its last line. */
struct frame {
    struct text event, id, data;
};

struct stream {
    enum { STREAM_HEAD, STREAM_BODY, STREAM_REFUSED, STREAM_BROKEN, STREAM_ENDED } phase;
    enum { CHUNK_NONE, CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END } chunk;
    size_t chunk_left;
    char *rest;
    size_t rest_bytes, rest_room;
};

/* Where the bytes of one read go. All streams share it: what a stream needs later it keeps in its `rest`. */
struct stream_buffer {
    char before[REST_BYTES];
    char bytes[READ_BYTES];
};

typedef void frame_sink(void *owner, const struct frame *frame);

/* Takes `count` bytes that were read into `buffer->bytes`, and calls `sink` for every frame that is whole now. What
 * became of the stream is its phase. For a refused one the buffer still has the answer. */
void stream_take(struct stream *stream, struct stream_buffer *buffer, size_t count, frame_sink *sink, void *owner);

/* Back to before the first byte. */
void stream_reset(struct stream *stream);
