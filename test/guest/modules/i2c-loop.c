// SPDX-License-Identifier: GPL-2.0
/*
 * i2c-loop: one virtual I2C bus with many masters.  Each port is an adapter of
 * the kernel's; what is written on one reaches the slave at that address on
 * another, with the events that a real controller's interrupt handler makes.
 * A port has one own address, as an Aspeed controller has.
 *
 * Speed, faults and counters are in /sys/module/i2c_loop/parameters.  A fault
 * meets so many percent of the writes; every fault is counted.
 */
#include <linux/delay.h>
#include <linux/i2c.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/property.h>
#include <linux/slab.h>

static uint port_count = 2;
module_param_named(ports, port_count, uint, 0444);
MODULE_PARM_DESC(ports, "adapters on the bus; their names are \"i2c-loop 0\" and so on");
static uint byte_us;
module_param(byte_us, uint, 0644);
MODULE_PARM_DESC(byte_us, "time of a byte and its acknowledge bit: 90 at 100 kHz, 23 at 400 kHz");
static bool i2c_protocol = true;
module_param(i2c_protocol, bool, 0644);
MODULE_PARM_DESC(i2c_protocol, "new clients get the property that ipmb-dev sends plain I2C by");
static bool mangling;
module_param(mangling, bool, 0644);
MODULE_PARM_DESC(mangling, "the adapters can ignore a missing acknowledge bit");

static uint nack, arbitration, drop, duplicate, corrupt;
module_param(nack, uint, 0644);
MODULE_PARM_DESC(nack, "% of writes of which the address is not acknowledged");
module_param(arbitration, uint, 0644);
MODULE_PARM_DESC(arbitration, "% of writes that lose arbitration");
module_param(drop, uint, 0644);
MODULE_PARM_DESC(drop, "% of writes that are acknowledged and reach nobody");
module_param(duplicate, uint, 0644);
MODULE_PARM_DESC(duplicate, "% of writes that arrive twice");
module_param(corrupt, uint, 0644);
MODULE_PARM_DESC(corrupt, "% of arriving writes with one bit inverted");

/*
 * Each write is counted once in the first line.  A write that was delivered is
 * one arrival, or two; those that were corrupted are also counted by whether
 * checksum 1 covers the bit (the first two bytes) or checksum 2.
 */
static ulong n_absent, n_nack, n_arbitration, n_drop, n_delivered;
static ulong n_arrived, n_refused, n_corrupt_header, n_corrupt_body;
module_param(n_absent, ulong, 0644);
MODULE_PARM_DESC(n_absent, "writes to an address that nobody has");
module_param(n_nack, ulong, 0644);
module_param(n_arbitration, ulong, 0644);
module_param(n_drop, ulong, 0644);
module_param(n_delivered, ulong, 0644);
module_param(n_arrived, ulong, 0644);
module_param(n_refused, ulong, 0644);
MODULE_PARM_DESC(n_refused, "arrivals of which the slave did not acknowledge a byte");
module_param(n_corrupt_header, ulong, 0644);
module_param(n_corrupt_body, ulong, 0644);

struct port {
	struct i2c_adapter adapter;
	struct i2c_client *slave;
};

static struct port *ports;
static uint added;
/* One transfer at a time; guards slaves, chance and the counters. */
static DEFINE_MUTEX(wire);
static struct rnd_state chance;

static u32 below(u32 n)
{
	return prandom_u32_state(&chance) % n;
}

/* happens says whether a fault of so many percent does. */
static bool happens(uint percent)
{
	return percent && below(100) < percent;
}

static int set_seed(const char *text, const struct kernel_param *param)
{
	u64 seed;
	int err = kstrtou64(text, 0, &seed);

	if (err)
		return err;
	mutex_lock(&wire);
	prandom_seed_state(&chance, seed);
	mutex_unlock(&wire);
	return 0;
}

static const struct kernel_param_ops seed_ops = { .set = set_seed };
module_param_cb(seed, &seed_ops, NULL, 0200);
MODULE_PARM_DESC(seed, "of the faults");

/* find is the slave that hears what from writes to an address. */
static struct i2c_client *find(const struct port *from, u16 addr)
{
	uint i;

	for (i = 0; i < port_count; i++)
		if (&ports[i] != from && ports[i].slave && ports[i].slave->addr == addr)
			return ports[i].slave;
	return NULL;
}

/* Controllers call the slave from their interrupt handlers. */
static int tell(struct i2c_client *slave, enum i2c_slave_event event, u8 byte)
{
	unsigned long flags;
	int err;

	local_irq_save(flags);
	err = i2c_slave_event(slave, event, &byte);
	local_irq_restore(flags);
	return err;
}

/* arrive gives a write to a slave, or as much of it as the slave takes. */
static int arrive(struct i2c_client *slave, const struct i2c_msg *msg)
{
	int i, bad = -1, err;

	n_arrived++;
	if (msg->len && happens(corrupt)) {
		bad = below(msg->len);
		if (bad < 2)
			n_corrupt_header++;
		else
			n_corrupt_body++;
	}
	err = tell(slave, I2C_SLAVE_WRITE_REQUESTED, 0);
	for (i = 0; i < msg->len && !err; i++)
		err = tell(slave, I2C_SLAVE_WRITE_RECEIVED,
			   msg->buf[i] ^ (i == bad ? 1 << below(8) : 0));
	tell(slave, I2C_SLAVE_STOP, 0);
	if (!err)
		return 0;
	n_refused++;
	return -EIO; /* what Aspeed's controllers say of a data byte */
}

static int deliver(struct i2c_client *slave, const struct i2c_msg *msg)
{
	int err;

	if (happens(drop)) {
		n_drop++;
		return 0;
	}
	n_delivered++;
	err = arrive(slave, msg);
	if (!err && happens(duplicate))
		arrive(slave, msg);
	return err;
}

static void pass_time(uint bytes)
{
	uint us = bytes * byte_us;

	if (us)
		usleep_range(us, us + us / 8 + 1);
}

static int write_one(struct port *from, const struct i2c_msg *msg)
{
	struct i2c_client *slave = find(from, msg->addr);
	int err;

	if (msg->flags & I2C_M_RD)
		return -EOPNOTSUPP;
	if (happens(arbitration)) {
		n_arbitration++;
		return -EAGAIN;
	}
	if (!slave || happens(nack)) {
		if (slave)
			n_nack++;
		else
			n_absent++;
		pass_time(1);
		err = -ENXIO;
	} else {
		pass_time(1 + msg->len);
		err = deliver(slave, msg);
	}
	return msg->flags & I2C_M_IGNORE_NAK ? 0 : err;
}

static int loop_transfer(struct i2c_adapter *adapter, struct i2c_msg *msgs, int n)
{
	struct port *from = i2c_get_adapdata(adapter);
	int i, err = 0;

	mutex_lock(&wire);
	for (i = 0; i < n && !err; i++)
		err = write_one(from, &msgs[i]);
	mutex_unlock(&wire);
	return err ? err : n;
}

static u32 loop_functions(struct i2c_adapter *adapter)
{
	return I2C_FUNC_I2C | I2C_FUNC_SLAVE | I2C_FUNC_SMBUS_EMUL |
	       (mangling ? I2C_FUNC_PROTOCOL_MANGLING : 0);
}

static int loop_register(struct i2c_client *client)
{
	struct port *port = i2c_get_adapdata(client->adapter);
	int err = 0;

	mutex_lock(&wire);
	if (port->slave)
		err = -EBUSY;
	else if (find(port, client->addr))
		err = -EADDRINUSE;
	else
		port->slave = client;
	mutex_unlock(&wire);
	return err;
}

static int loop_unregister(struct i2c_client *client)
{
	struct port *port = i2c_get_adapdata(client->adapter);

	mutex_lock(&wire);
	port->slave = NULL;
	mutex_unlock(&wire);
	return 0;
}

static const struct i2c_algorithm algorithm = {
	.master_xfer = loop_transfer,
	.functionality = loop_functions,
	.reg_slave = loop_register,
	.unreg_slave = loop_unregister,
};

/*
 * Clients made through new_device have no properties.  On a board they come
 * from the device tree, so ours get them here, before their driver looks.
 */
static const struct property_entry properties[] = { PROPERTY_ENTRY_BOOL("i2c-protocol"), {} };
static const struct software_node node = { .properties = properties };

static int announced(struct notifier_block *block, unsigned long action, void *data)
{
	struct i2c_client *client = i2c_verify_client(data);

	if (action != BUS_NOTIFY_ADD_DEVICE || !i2c_protocol ||
	    !client || client->adapter->algo != &algorithm)
		return NOTIFY_DONE;
	return notifier_from_errno(device_add_software_node(&client->dev, &node));
}

static struct notifier_block watch = { .notifier_call = announced };

static void take_down(void)
{
	while (added)
		i2c_del_adapter(&ports[--added].adapter);
	bus_unregister_notifier(&i2c_bus_type, &watch);
	software_node_unregister(&node);
	kfree(ports);
}

static int add_port(struct port *port, uint number)
{
	port->adapter.owner = THIS_MODULE;
	port->adapter.algo = &algorithm;
	snprintf(port->adapter.name, sizeof(port->adapter.name), "i2c-loop %u", number);
	i2c_set_adapdata(&port->adapter, port);
	return i2c_add_adapter(&port->adapter);
}

static int __init loop_init(void)
{
	int err;

	prandom_seed_state(&chance, 1);
	ports = kcalloc(port_count, sizeof(*ports), GFP_KERNEL);
	if (!ports)
		return -ENOMEM;
	err = software_node_register(&node);
	if (err) {
		kfree(ports);
		return err;
	}
	bus_register_notifier(&i2c_bus_type, &watch);
	for (; added < port_count; added++) {
		err = add_port(&ports[added], added);
		if (err) {
			take_down();
			return err;
		}
	}
	return 0;
}

module_init(loop_init);
module_exit(take_down);
MODULE_DESCRIPTION("a virtual I2C bus with many masters and faults");
MODULE_LICENSE("GPL");
