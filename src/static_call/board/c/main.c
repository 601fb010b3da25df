// SPDX-License-Identifier: MIT
/*
 * What this machine does: prints one JSON object. README says what to do with it.
 *
 *	board [SECONDS]		asks the questions for that many seconds together, 60 by default
 *
 * It needs no privileges, writes no file, and uses a few MiB of memory.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "board.h"

static uint64_t sum = 0xcbf29ce484222325; /* FNV-1a of all that was printed, but for white space */

static void add(const char *text)
{
	for (; *text; text++)
		if (*text != ' ' && *text != '\n')
			sum = (sum ^ (unsigned char)*text) * 0x100000001b3;
}

void json(const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	add(text);
	fputs(text, stdout);
}

void json_string(const char *text)
{
	json("\"");
	for (; *text; text++)
		if (*text >= ' ' && *text <= '~')
			json(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	json("\"");
}

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The first line of a file, or of what starts with `start` in it; "" where there is none. */
static const char *line_of(const char *path, const char *start)
{
	static char text[256];
	FILE *file = fopen(path, "r");

	while (file && fgets(text, sizeof(text), file)) {
		if (!strncmp(text, start, strlen(start))) {
			text[strcspn(text, "\n")] = 0;
			fclose(file);
			return text;
		}
	}
	if (file)
		fclose(file);
	return "";
}

static int starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/*
 * What says whether this is an emulator. It sets `machine` to "emulated", "unknown" or "hardware", and
 * never says hardware of what may be a virtual machine: QEMU may have any CPU's MIDR.
 */
static const char *machine;

static void evidence(int known, int emulated)
{
	const char *virtual[] = { "QEMU", "linux,dummy-virt", "gem5", "arm,fvp", "arm,foundation",
				  "ARM,FVP", "arm,vexpress", "ARM Ltd" };
	const char *names[] = { "/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name",
				"/proc/device-tree/compatible", "/proc/device-tree/hypervisor/compatible" };
	const char *cpuinfo = line_of("/proc/cpuinfo", "CPU implementer");
	int any = 0, suspicious = 0;

	json(" \"firmware\": [");
	for (int i = 0; i < 4; i++) {
		const char *text = line_of(names[i], "");

		any |= *text != 0;
		suspicious |= *text && i == 3;
		for (size_t v = 0; v < sizeof(virtual) / sizeof(*virtual); v++)
			suspicious |= starts(text, virtual[v]);
		json("%s", i ? ", " : "");
		json_string(text);
	}
	json("],\n \"cpuinfo\": ");
	json_string(cpuinfo);
	machine = emulated || !*cpuinfo ? "emulated" : !known || !any || suspicious ? "unknown" : "hardware";
	json(",\n \"machine\": \"%s\",\n", machine);
}

/* Each CPU's registers. A CPU that is another one under the same number is an emulator's work. */
static void processors(void)
{
	long count = sysconf(_SC_NPROCESSORS_CONF);
	int known = 1, emulated = 0, first = 1;

	json(" \"cpus\": [");
	for (int cpu = 0; cpu < count && cpu < CPU_SETSIZE; cpu++) {
		char path[96];
		cpu_set_t set;
		uint64_t midr = 0, mrs = 0, ctr = 0;
		const char *text;

		CPU_ZERO(&set);
		CPU_SET((size_t)cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set))
			continue; /* offline, or not for us */
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/regs/identification/midr_el1",
			 cpu);
		text = line_of(path, "");
		midr = strtoull(text, 0, 16);
		__asm__ volatile("mrs %0, ctr_el0" : "=r"(ctr));
		if (getauxval(AT_HWCAP) & 1 << 11) /* HWCAP_CPUID: Linux lets programs read this */
			__asm__ volatile("mrs %0, midr_el1" : "=r"(mrs));
		known &= midr && mrs;
		emulated |= (midr && mrs && (uint32_t)midr != (uint32_t)mrs) ||
			    ((midr || mrs) && !((midr | mrs) >> 24 & 255));
		json("%s\n  {\"cpu\": %d, \"midr\": \"%#llx\", \"mrs\": \"%#llx\", \"ctr\": \"%#llx\", "
		     "\"errata\": [", first ? "" : ",", cpu, (unsigned long long)midr,
		     (unsigned long long)mrs, (unsigned long long)ctr);
		first = 0;
		for (int i = 0, any = 0; i < erratum_count; i++)
			if ((((midr ? midr : mrs) ^ errata[i].midr) & errata[i].mask) == 0)
				json("%s\"%s\"", any++ ? ", " : "", errata[i].number);
		json("]}");
	}
	json("],\n");
	evidence(known && !first, emulated);
}

static void question(const struct question *asked, double seconds, int first)
{
	static struct answer answer;
	const char *failed;

	memset(&answer, 0, sizeof(answer));
	failed = ask(asked, seconds, &answer);
	json("%s\n  {\"name\": ", first ? "" : ",");
	json_string(asked->name);
	json(", \"digest\": \"%s\", \"failed\": ", asked->digest);
	json_string(failed ? failed : answer.more ? "too many outcomes" : "");
	json(", \"runs\": %llu, \"outcomes\": [", (unsigned long long)answer.runs);
	for (int i = 0; i < answer.outcomes; i++) {
		json("%s[%llu", i ? ", " : "", (unsigned long long)answer.counts[i]);
		for (int j = 0; j < asked->watched_count; j++)
			json(", %llu", (unsigned long long)answer.values[i][j]);
		json("]");
	}
	json("]}");
}

int main(int argc, char **argv)
{
	char *end = 0;
	double seconds = argc > 1 ? strtod(argv[1], &end) : 60, started;
	struct utsname names;
	cpu_set_t all;
	int counted = !sched_getaffinity(0, sizeof(all), &all);

	if (argc > 2 || (end && (*end || end == argv[1])) || !(seconds > 0 && seconds <= 86400)) {
		fprintf(stderr, "usage: board [SECONDS]\n");
		return 2;
	}
	uname(&names);
	json("{\"static-call board\": 1,\n \"made by\": ");
	json_string(made_by);
	json(",\n \"kernel\": ");
	json_string(names.release);
	json(",\n \"architecture\": ");
	json_string(names.machine);
	json(",\n \"compiler\": ");
	json_string(__VERSION__);
	json(",\n \"page\": %ld,\n \"hwcap\": [\"%#lx\", \"%#lx\"],\n", sysconf(_SC_PAGESIZE),
	     getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
	processors();
	if (counted)
		sched_setaffinity(0, sizeof(all), &all);
	json(" \"questions\": [");
	fflush(stdout);
	started = now();
	for (int i = 0; i < question_count; i++) {
		question(&questions[i], seconds / question_count, !i);
		fflush(stdout); /* or a child would print it again */
		if (isatty(2))
			fprintf(stderr, "\r%d/%d\033[K", i + 1, question_count);
	}
	json("],\n \"seconds\": %.1f,\n \"figures\": {", now() - started);
	measure(); /* last: before, there is one thread, which can fork */
	json("}");
	printf(",\n \"sum\": \"%016llx\"}\n", (unsigned long long)sum);
	if (isatty(2))
		fprintf(stderr, "\r\033[K%s: send the output back\n", machine);
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
