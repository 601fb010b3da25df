#!/bin/sh
# Builds the program, where there is no make. CC is the compiler, by default cc.
cd "$(dirname "$0")" &&
exec ${CC:-cc} ${CFLAGS:--O2} -std=gnu11 -pthread -o board main.c questions.c measure.c table.c static_call.c $LDFLAGS
