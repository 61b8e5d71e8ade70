/* Durations in buckets that are at most 1/64 of their value wide, so that a percentile is right to 1.6 %. */
#pragma once

#include <stdint.h>

enum { HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = 59 * HISTOGRAM_STEPS };

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total, largest;
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The smallest value that at least `share` of all do not exceed; 0 where there are none. */
uint64_t histogram_at(const struct histogram *histogram, double share);
