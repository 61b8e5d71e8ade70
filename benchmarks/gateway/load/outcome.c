#define _GNU_SOURCE
#include "outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"

struct usage usage_now(const struct options *options)
{
    char own[24];
    snprintf(own, sizeof own, "%d", (int)getpid());
    return (struct usage){now_us(), process_cpu_us(options->gateway_pids), process_cpu_us(options->store_pids),
                          process_cpu_us(own)};
}

static void number(const char *name, double value)
{
    printf(",\"%s\":%.10g", name, value);
}

/* Text from a peer, in a string of JSON. */
static void text(const char *name, const char *value)
{
    printf(",\"%s\":\"", name);
    for (; *value; value++)
        if (*value == '"' || *value == '\\')
            printf("\\%c", *value);
        else if (*value >= ' ' && *value <= '~')
            putchar(*value);
        else
            putchar(' ');
    putchar('"');
}

static void latency(const char *name, const struct histogram *took_us)
{
    printf(",\"%s\":{\"count\":%llu", name, (unsigned long long)took_us->total);
    number("p50", (double)histogram_at(took_us, 0.5) / 1000);
    number("p99", (double)histogram_at(took_us, 0.99) / 1000);
    number("p999", (double)histogram_at(took_us, 0.999) / 1000);
    number("max", (double)took_us->largest / 1000);
    putchar('}');
}

static uint64_t expected(const struct crowd *crowd)
{
    uint64_t sum = 0;
    for (int index = 0; index < crowd->options->clients; index++)
        sum += crowd->plan[crowd->clients[index].session].published;
    return sum;
}

static struct histogram *first_events(const struct crowd *crowd, uint64_t began_us)
{
    struct histogram *found = calloc(1, sizeof *found);
    if (!found)
        abort();
    for (int index = 0; index < crowd->options->clients; index++)
        if (crowd->clients[index].first_us)
            histogram_add(found, crowd->clients[index].first_us - began_us);
    return found;
}

void outcome_print(const struct outcome *outcome, const struct crowd *crowd, const struct publisher *publisher)
{
    const struct usage *before = &outcome->before, *after = &outcome->after;
    struct histogram *first_us = first_events(crowd, outcome->began_us);
    printf("{\"clients\":%d", crowd->options->clients);
    number("expected", (double)expected(crowd));
    number("delivered", (double)crowd->delivered);
    number("gaps", (double)crowd->gaps);
    number("repeats", (double)crowd->repeats);
    number("strays", (double)crowd->strays);
    number("broken", (double)crowd->broken);
    number("refused", (double)crowd->refused);
    number("closed", (double)crowd->closed);
    number("published", publisher ? (double)publisher->published : 0);
    number("acknowledged", publisher ? (double)publisher->acknowledged : 0);
    number("late_p99_ms", publisher ? (double)histogram_at(&publisher->late_us, 0.99) / 1000 : 0);
    number("window_s", (double)(after->at_us - before->at_us) / 1e6);
    number("arrived", (double)outcome->arrived);
    number("gateway_cpu_s", (after->gateway_us - before->gateway_us) / 1e6);
    number("store_cpu_s", (after->store_us - before->store_us) / 1e6);
    number("load_cpu_s", (after->own_us - before->own_us) / 1e6);
    number("rss_before_kb", outcome->rss_before_kb);
    number("rss_after_kb", outcome->rss_after_kb);
    number("idle_share", outcome->idle_share);
    number("entered_s", (double)(outcome->entered_us - outcome->began_us) / 1e6);
    number("back_s", (double)outcome->back_us / 1e6);
    number("received_s", crowd->last_us ? (double)(crowd->last_us - outcome->began_us) / 1e6 : 0);
    latency("opened_ms", &crowd->opened_us);
    latency("first_event_ms", first_us);
    latency("took_ms", &crowd->spans[0].took_us);
    latency("took_in_storm_ms", &crowd->spans[1].took_us);
    text("refusal", publisher ? publisher->refusal : "");
    text("sample", crowd->sample);
    printf("}\n");
    free(first_us);
}
