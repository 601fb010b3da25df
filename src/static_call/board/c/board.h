/* SPDX-License-Identifier: MIT */
/* What the files of this program share. main.c says what it does. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

enum { MOST_THREADS = 4, MOST_WATCHED = 16, MOST_OUTCOMES = 64 };

/* A value that depends on where an instance of a question is: see questions.c. */
enum kind {
	NUMBER, /* `number` itself */
	CODE,	/* the address of the byte `number` of thread `of`'s code, to execute it */
	ALIAS,	/* the same, to write it */
	DATA,	/* the address of variable `of` */
	WAITS,	/* how often loads that wait for another thread are repeated at most */
};

struct value {
	enum kind kind;
	int of;
	uint64_t number;
};

struct set { /* a register that does not start as 0 */
	int reg;
	struct value value;
};

struct thread {
	const uint32_t *words;
	const struct set *sets;
	int word_count, set_count;
	uint64_t address; /* of its first word, by which outcomes name code */
};

struct variable {
	int size; /* bytes */
	struct value start;
	uint64_t address; /* by which outcomes name it */
};

struct watched { /* part of an outcome: a register, or a variable if `thread` is -1 */
	int thread, number;
};

struct question {
	const char *name, *digest;
	const struct thread *threads;
	const struct variable *variables;
	const struct watched *watched;
	int thread_count, variable_count, watched_count;
};

struct erratum {
	uint32_t midr, mask;
	const char *number;
};

/* table.c, which was written for the questions that were asked for */
extern const char made_by[];
extern const struct question questions[];
extern const int question_count;
extern const struct erratum errata[];
extern const int erratum_count;

/* questions.c */
struct answer {
	uint64_t runs;
	int outcomes, more; /* more: there were more than MOST_OUTCOMES */
	uint64_t values[MOST_OUTCOMES][MOST_WATCHED], counts[MOST_OUTCOMES];
};

/* Asks a question for some time. Returns 0, or why there is no answer. */
const char *ask(const struct question *question, double seconds, struct answer *answer);

/* measure.c: prints the members of an object of figures */
void measure(void);

/* main.c: prints part of the JSON */
__attribute__((__format__(__printf__, 1, 2))) void json(const char *format, ...);
void json_string(const char *text);
double now(void); /* seconds */

#endif
