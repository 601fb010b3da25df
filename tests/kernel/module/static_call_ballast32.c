// SPDX-License-Identifier: GPL-2.0
#define MIB 32
#include "static_call_ballast.h"
