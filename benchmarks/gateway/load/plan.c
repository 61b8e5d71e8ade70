#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refuse(const char *file, int session)
{
    fprintf(stderr, "load: %s: session %d is not as expected\n", file, session);
    exit(2);
}

static const char *bytes(FILE *from, size_t count)
{
    char *read = malloc(count + 1);
    if (!read || fread(read, 1, count, from) != count) {
        free(read);
        return NULL;
    }
    read[count] = 0;
    return read;
}

struct session *plan_read(const char *file, int sessions)
{
    char line[512], path[256];
    struct session *plan = calloc((size_t)sessions, sizeof *plan);
    FILE *from = fopen(file, "r");
    if (!plan || !from)
        refuse(file, 0);
    for (int index = 0; index < sessions; index++) {
        struct session *s = &plan[index];
        if (!fgets(line, sizeof line, from) ||
            sscanf(line, "%255s %zu %zu %zu %zu %zu", path, &s->head_bytes, &s->tail_bytes, &s->stamp,
                   &s->payload_bytes, &s->mark) != 6)
            refuse(file, index);
        s->path = strdup(path);
        s->head = bytes(from, s->head_bytes);
        s->tail = bytes(from, s->tail_bytes);
        if (!s->path || !s->head || !s->tail || (s->tail_bytes && s->stamp + STAMP_BYTES > s->tail_bytes) ||
            (s->payload_bytes && s->mark + STAMP_BYTES > s->payload_bytes))
            refuse(file, index);
    }
    fclose(from);
    return plan;
}

static void write_digits(char *to, int count, uint64_t value)
{
    while (count--) {
        to[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

static int read_digits(const char *from, int count, uint64_t *value)
{
    for (*value = 0; count--; from++) {
        if (*from < '0' || *from > '9')
            return 0;
        *value = *value * 10 + (uint64_t)(*from - '0');
    }
    return 1;
}

void stamp_write(char *to, struct stamp stamp)
{
    to[0] = '@';
    write_digits(to + 1, 16, stamp.at_us);
    to[17] = ' ';
    write_digits(to + 18, 10, stamp.number);
    to[28] = ' ';
    write_digits(to + 29, 6, stamp.session);
}

int stamp_read(const char *from, struct stamp *stamp)
{
    return from[0] == '@' && from[17] == ' ' && from[28] == ' ' && read_digits(from + 1, 16, &stamp->at_us) &&
           read_digits(from + 18, 10, &stamp->number) && read_digits(from + 29, 6, &stamp->session);
}
