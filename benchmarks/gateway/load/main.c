/* A load client for streams of server-sent events: it lets clients connect, publishes to their sessions, and checks
 * that each is shown every event of its session once, in order. One thread reads for all clients and goes through the
 * phases of a run, so that what it counts and what it measures belong to the same moment; another one publishes.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "crowd.h"
#include "options.h"
#include "outcome.h"
#include "process.h"
#include "publisher.h"

enum { ENTER_S = 60, IDLE_S = 2 };

/* When everything has come: time for what should not come as well. */
static const double MORE_S = 0.2;

static struct publisher publisher;

static uint64_t after(double seconds)
{
    return now_us() + (uint64_t)(seconds * 1e6);
}

static uint64_t expected_of(const struct crowd *crowd, const struct client *client)
{
    return crowd->plan[client->session].published;
}

static bool all_seen(const struct crowd *crowd)
{
    for (const struct client *client = crowd->clients; client < crowd->clients + crowd->options->clients; client++)
        if (client->state == CLIENT_OPEN && client->last < expected_of(crowd, client))
            return false;
    return true;
}

static bool publisher_stopped(const struct crowd *crowd)
{
    (void)crowd;
    return atomic_load(&publisher.stopped);
}

static void enter(struct crowd *crowd, struct outcome *outcome)
{
    outcome->rss_before_kb = process_rss_kb(crowd->options->gateway_pids);
    outcome->before = usage_now(crowd->options);
    outcome->began_us = now_us();
    crowd_enter(crowd, 0, crowd->options->clients, crowd->options->at_once);
    crowd_run(crowd, after(ENTER_S), crowd_entered);
    outcome->entered_us = now_us();
    outcome->after = usage_now(crowd->options);
}

/* Lets the publisher end, and whatever it published arrive. */
static void drain(struct crowd *crowd)
{
    atomic_store(&publisher.stopping, true);
    while (!crowd_run(crowd, after(1), publisher_stopped))
        ;
    publisher_join(&publisher);
    crowd_run(crowd, after(crowd->options->drain_s), all_seen);
    crowd_run(crowd, after(MORE_S), NULL);
}

static void measure(struct crowd *crowd, struct outcome *outcome, struct span *span)
{
    uint64_t delivered = crowd->delivered;
    outcome->before = usage_now(crowd->options);
    span->from_us = now_us();
    span->to_us = after(crowd->options->measure_s);
    crowd_run(crowd, span->to_us, NULL);
    outcome->after = usage_now(crowd->options);
    outcome->arrived = crowd->delivered - delivered;
}

static int begin_to_publish(struct crowd *crowd)
{
    if (publisher_start(&publisher, crowd->options, crowd->plan)) {
        perror("load: the publisher cannot connect");
        return -1;
    }
    crowd_run(crowd, after(crowd->options->warm_s), NULL);
    return 0;
}

static int live(struct crowd *crowd, struct outcome *outcome)
{
    enter(crowd, outcome);
    crowd_run(crowd, after(crowd->options->settle_s), NULL);
    if (begin_to_publish(crowd))
        return 1;
    measure(crowd, outcome, &crowd->spans[0]);
    drain(crowd);
    outcome->rss_after_kb = process_rss_kb(crowd->options->gateway_pids);
    return 0;
}

static int idle(struct crowd *crowd, struct outcome *outcome)
{
    enter(crowd, outcome);
    crowd_run(crowd, after(crowd->options->settle_s), NULL);
    outcome->rss_after_kb = process_rss_kb(crowd->options->gateway_pids);
    double used_us = process_cpu_us(crowd->options->gateway_pids);
    crowd_run(crowd, after(IDLE_S), NULL);
    outcome->idle_share = (process_cpu_us(crowd->options->gateway_pids) - used_us) / IDLE_S / 1e6;
    return 0;
}

static int replay(struct crowd *crowd, struct outcome *outcome)
{
    for (int session = 0; session < crowd->options->sessions; session++)
        crowd->plan[session].published = (uint64_t)crowd->options->missed;
    enter(crowd, outcome);
    crowd_run(crowd, after(crowd->options->drain_s), all_seen);
    outcome->after = usage_now(crowd->options);
    outcome->arrived = crowd->delivered;
    crowd_run(crowd, after(MORE_S), NULL);
    return 0;
}

/* A calm span, then one in which all but the watched clients drop and come back at once. */
static int storm(struct crowd *crowd, struct outcome *outcome)
{
    enter(crowd, outcome);
    crowd_run(crowd, after(crowd->options->settle_s), NULL);
    if (begin_to_publish(crowd))
        return 1;
    measure(crowd, outcome, &crowd->spans[0]);
    uint64_t delivered = crowd->delivered;
    struct span *span = &crowd->spans[1];
    outcome->before = usage_now(crowd->options);
    span->from_us = now_us();
    span->to_us = after(crowd->options->measure_s);
    crowd_leave(crowd, crowd->watched, crowd->options->clients);
    crowd_enter(crowd, crowd->watched, crowd->options->clients, crowd->options->storming);
    crowd_run(crowd, after(ENTER_S), crowd_entered);
    outcome->back_us = now_us() - span->from_us;
    crowd_run(crowd, span->to_us, NULL);
    outcome->after = usage_now(crowd->options);
    outcome->arrived = crowd->delivered - delivered;
    drain(crowd);
    return 0;
}

int main(int count, char **words)
{
    static struct outcome outcome;
    const struct {
        const char *name;
        int (*run)(struct crowd *crowd, struct outcome *outcome);
    } modes[] = {{"live", live}, {"idle", idle}, {"replay", replay}, {"storm", storm}};
    struct options options = options_read(count, words);
    struct crowd *crowd = crowd_of(&options, plan_read(options.plan, options.sessions));
    signal(SIGPIPE, SIG_IGN);
    for (size_t mode = 0; crowd && mode < sizeof modes / sizeof *modes; mode++)
        if (!strcmp(options.mode, modes[mode].name)) {
            if (modes[mode].run(crowd, &outcome))
                return 1;
            outcome_print(&outcome, crowd, *options.acknowledged ? &publisher : NULL);
            return 0;
        }
    fprintf(stderr, "load: cannot run mode %s\n", options.mode);
    return 2;
}
