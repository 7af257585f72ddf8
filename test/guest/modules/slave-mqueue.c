// SPDX-License-Identifier: GPL-2.0
/*
 * slave-mqueue: a device with the user interface of the driver of that name in
 * the kernels of OpenBMC, for tests.  It is written from the description of
 * the interface:
 *
 *   - each read of the file slave-mqueue takes one message, behind our address;
 *     no message is an empty read, a buffer that is too small loses it;
 *   - a message that arrives wakes those who poll for POLLPRI;
 *   - of 32 messages 31 can wait, and the oldest goes first when one more comes;
 *   - a message of more than 120 bytes is not acknowledged and dropped.
 */
#include <linux/i2c.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#define SIZE	120
#define SLOTS	32 /* a power of two */

struct message {
	u8 length;
	u8 bytes[SIZE];
};

struct mqueue {
	struct bin_attribute file;
	struct kernfs_node *node;
	spinlock_t lock; /* of all below */
	struct message slots[SLOTS];
	uint in, out; /* the slot that arrives, the oldest that waits */
	bool refused;
};

static ssize_t mqueue_read(struct file *file, struct kobject *kobj, struct bin_attribute *attr,
			   char *buf, loff_t pos, size_t count)
{
	struct mqueue *queue = dev_get_drvdata(kobj_to_dev(kobj));
	struct message *message;
	ssize_t n = 0;

	spin_lock_irq(&queue->lock);
	if (queue->in != queue->out) {
		message = &queue->slots[queue->out];
		n = message->length <= count ? message->length : -EOVERFLOW;
		if (n > 0)
			memcpy(buf, message->bytes, n);
		queue->out = (queue->out + 1) % SLOTS;
	}
	spin_unlock_irq(&queue->lock);
	return n;
}

/* push makes the message that has arrived one that waits. */
static void push(struct mqueue *queue)
{
	if (queue->refused || queue->slots[queue->in].length < 2)
		return;
	queue->in = (queue->in + 1) % SLOTS;
	if (queue->in == queue->out)
		queue->out = (queue->out + 1) % SLOTS;
	kernfs_notify(queue->node);
}

static int mqueue_event(struct i2c_client *client, enum i2c_slave_event event, u8 *value)
{
	struct mqueue *queue = i2c_get_clientdata(client);
	struct message *message;
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	message = &queue->slots[queue->in];
	switch (event) {
	case I2C_SLAVE_WRITE_REQUESTED:
		message->bytes[0] = client->addr << 1;
		message->length = 1;
		queue->refused = false;
		break;
	case I2C_SLAVE_WRITE_RECEIVED:
		if (message->length < SIZE)
			message->bytes[message->length++] = *value;
		else
			queue->refused = true;
		break;
	case I2C_SLAVE_STOP:
		push(queue);
		break;
	default:
		break;
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	return queue->refused ? -EIO : 0;
}

static int mqueue_probe(struct i2c_client *client)
{
	struct mqueue *queue = devm_kzalloc(&client->dev, sizeof(*queue), GFP_KERNEL);
	int err;

	if (!queue)
		return -ENOMEM;
	spin_lock_init(&queue->lock);
	i2c_set_clientdata(client, queue);
	sysfs_bin_attr_init(&queue->file);
	queue->file.attr.name = "slave-mqueue";
	queue->file.attr.mode = 0400;
	queue->file.size = SIZE * SLOTS;
	queue->file.read = mqueue_read;
	err = sysfs_create_bin_file(&client->dev.kobj, &queue->file);
	if (err)
		return err;
	queue->node = kernfs_find_and_get(client->dev.kobj.sd, queue->file.attr.name);
	err = queue->node ? i2c_slave_register(client, mqueue_event) : -EFAULT;
	if (err) {
		kernfs_put(queue->node);
		sysfs_remove_bin_file(&client->dev.kobj, &queue->file);
	}
	return err;
}

static void mqueue_remove(struct i2c_client *client)
{
	struct mqueue *queue = i2c_get_clientdata(client);

	i2c_slave_unregister(client);
	kernfs_put(queue->node);
	sysfs_remove_bin_file(&client->dev.kobj, &queue->file);
}

static const struct i2c_device_id ids[] = { { "slave-mqueue" }, {} };

static struct i2c_driver slave_mqueue_driver = {
	.driver.name = "i2c-slave-mqueue",
	.probe_new = mqueue_probe,
	.remove = mqueue_remove,
	.id_table = ids,
};
module_i2c_driver(slave_mqueue_driver);

MODULE_DESCRIPTION("the user interface of slave-mqueue, for tests");
MODULE_LICENSE("GPL");
