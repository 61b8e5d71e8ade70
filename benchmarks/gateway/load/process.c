#define _GNU_SOURCE
#include "process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static double thread_cpu_us(long pid, const char *thread)
{
    char path[320];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%ld/task/%s/schedstat", pid, thread);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%llu", &ns) != 1)
        ns = 0;
    fclose(file);
    return (double)ns / 1000;
}

static double cpu_us(long pid)
{
    char path[64];
    double sum = 0;
    snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *threads = opendir(path);
    if (!threads)
        return 0;
    for (struct dirent *thread; (thread = readdir(threads));)
        if (thread->d_name[0] != '.')
            sum += thread_cpu_us(pid, thread->d_name);
    closedir(threads);
    return sum;
}

static double rss_kb(long pid)
{
    char path[64], line[256];
    long kb, sum = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %ld", &kb) == 1 || sscanf(line, "RssShmem: %ld", &kb) == 1)
            sum += kb;
    fclose(file);
    return (double)sum;
}

static double summed(const char *pids, double (*of)(long pid))
{
    double sum = 0;
    char *end;
    for (long pid; (pid = strtol(pids, &end, 10)) > 0; pids = *end ? end + 1 : end)
        sum += of(pid);
    return sum;
}

double process_cpu_us(const char *pids)
{
    return summed(pids, cpu_us);
}

double process_rss_kb(const char *pids)
{
    return summed(pids, rss_kb);
}
