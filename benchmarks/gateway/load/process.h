/* What processes use, as the kernel counts it. `pids` is a list as "12,34"; an empty one uses nothing. */
#pragma once

/* CPU microseconds of all live threads: schedstat counts nanoseconds, /proc/PID/stat only ticks of 10 ms. */
double process_cpu_us(const char *pids);

/* Resident KB without what is mapped from files. The sockets' own memory is the kernel's and not in it. */
double process_rss_kb(const char *pids);
