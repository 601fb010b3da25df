// SPDX-License-Identifier: GPL-2.0
#define MIB 160
#include "static_call_ballast.h"
