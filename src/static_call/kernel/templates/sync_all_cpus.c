
/*
 * A context synchronization event on every CPU: without one, there is no limit
 * to how long a CPU goes on executing an instruction that has been replaced.
 *
 * The IPI's exception entry and return are one on the other CPUs. A CPU that is
 * offline has one when it comes up, which the caller's cpus_read_lock() keeps
 * it from doing meanwhile. Static calls are updated where one can sleep, so
 * with interrupts on, except in early boot: there no other CPU is online, no
 * IPI is sent, and the ISB is all that is needed.
 */
static void sync_all_cpus(void)
{
	kick_all_cpus_sync();
	isb();
}
