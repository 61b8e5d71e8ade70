/* What a run came to, as a line of JSON. */
#pragma once

#include "crowd.h"
#include "publisher.h"

struct usage {
    uint64_t at_us;
    double gateway_us, store_us, own_us;
};

struct outcome {
    struct usage before, after; /* around what is measured */
    uint64_t arrived;           /* deliveries between the two */
    double rss_before_kb, rss_after_kb;
    double idle_share;          /* of a core, that the gateway uses when nothing happens */
    uint64_t began_us, entered_us, back_us;
};

struct usage usage_now(const struct options *options);

/* `publisher`: NULL where nothing was published. */
void outcome_print(const struct outcome *outcome, const struct crowd *crowd, const struct publisher *publisher);
