#include "histogram.h"

enum { STEP_BITS = 6 };

static int bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (int)value;
    int shift = 63 - __builtin_clzll(value) - STEP_BITS;
    return (shift + 1) * HISTOGRAM_STEPS + (int)((value >> shift) - HISTOGRAM_STEPS);
}

static uint64_t value_of(int bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return (uint64_t)bucket;
    int shift = bucket / HISTOGRAM_STEPS - 1;
    return (uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << shift;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(value)]++;
    histogram->total++;
    if (value > histogram->largest)
        histogram->largest = value;
}

uint64_t histogram_at(const struct histogram *histogram, double share)
{
    uint64_t seen = 0;
    for (int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->counts[bucket];
        if (seen > 0 && (double)seen >= share * (double)histogram->total)
            return value_of(bucket);
    }
    return histogram->largest;
}
