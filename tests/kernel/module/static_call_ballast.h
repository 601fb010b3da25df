/* SPDX-License-Identifier: GPL-2.0 */
/* A module that takes up MIB mebibytes of where modules go, and does nothing. */

#include <linux/module.h>

static char ballast[MIB << 20];

static int __init ballast_init(void)
{
	/* Used, so that it is there. */
	return READ_ONCE(ballast[sizeof(ballast) - 1]);
}
module_init(ballast_init);

static void __exit ballast_exit(void)
{
}
module_exit(ballast_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Takes up space where modules go");
