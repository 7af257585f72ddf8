// SPDX-License-Identifier: GPL-2.0
/*
 * ipmb-device: a device with the user interface of the driver of that name
 * (https://github.com/enndubyu/ipmb_device), for tests.  It is written from the
 * description of the interface, its oddities included:
 *
 *   - a frame has no length byte, in either direction;
 *   - a frame of less than two bytes after the address is delivered, with a
 *     length that has wrapped;
 *   - the queue of 256 is a stack, and drops the newest when it is full;
 *   - a wrong header checksum in a write is EINVAL;
 *   - a request that it does not know succeeds, and one that the adapter cannot
 *     do returns a positive number.
 */
#include <linux/i2c.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define EN_IGNORE_NACK		_IO(217, 1)
#define DIS_IGNORE_NACK		_IO(217, 2)
#define ENABLE_CHECKSUM		_IO(217, 3)
#define DISABLE_CHECKSUM	_IO(217, 4)

#define HEADER		3 /* address, network function and LUN, checksum */
#define PAYLOAD		255
#define FRAME		(HEADER + PAYLOAD)
#define QUEUE		256

struct frame {
	struct list_head list;
	u8 payload; /* bytes after the header */
	u8 bytes[FRAME];
};

struct ipmb {
	struct i2c_client *client;
	struct miscdevice misc;
	wait_queue_head_t readable;
	spinlock_t lock; /* of all below */
	struct list_head stack;
	uint waiting;
	struct frame arriving;
	uint length; /* bytes of it so far */
	bool refused;
	bool check_header;
	bool ignore_nack;
};

static struct ipmb *ipmb_of(struct file *file)
{
	return container_of(file->private_data, struct ipmb, misc);
}

static u8 sum(const u8 *bytes, size_t n)
{
	u8 total = 0;

	while (n--)
		total += *bytes++;
	return total;
}

static struct frame *pop(struct ipmb *ipmb)
{
	struct frame *frame;

	spin_lock_irq(&ipmb->lock);
	frame = list_first_entry_or_null(&ipmb->stack, struct frame, list);
	if (frame) {
		list_del(&frame->list);
		ipmb->waiting--;
	}
	spin_unlock_irq(&ipmb->lock);
	return frame;
}

static ssize_t ipmb_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct ipmb *ipmb = ipmb_of(file);
	struct frame *frame = pop(ipmb);
	int err;

	while (!frame) {
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(ipmb->readable, !list_empty(&ipmb->stack));
		if (err)
			return err;
		frame = pop(ipmb);
	}
	count = min_t(size_t, count, frame->payload + HEADER);
	err = copy_to_user(buf, frame->bytes, count) ? -EFAULT : 0;
	kfree(frame);
	return err ? err : count;
}

static ssize_t ipmb_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct ipmb *ipmb = ipmb_of(file);
	u8 bytes[FRAME + 1];
	struct i2c_msg msg = { .buf = bytes + 1 };
	int err;

	if (count < HEADER || count > sizeof(bytes))
		return -EINVAL;
	if (copy_from_user(bytes, buf, count))
		return -EFAULT;
	if (sum(bytes, HEADER))
		return -EINVAL;
	msg.addr = bytes[0] >> 1;
	msg.len = (u8)(count - 1); /* wraps, as the driver's does */
	if (ipmb->ignore_nack)
		msg.flags = I2C_M_IGNORE_NAK;
	err = i2c_transfer(ipmb->client->adapter, &msg, 1);
	return err < 0 ? err : count;
}

static __poll_t ipmb_poll(struct file *file, poll_table *wait)
{
	struct ipmb *ipmb = ipmb_of(file);

	poll_wait(file, &ipmb->readable, wait);
	return EPOLLOUT | (list_empty(&ipmb->stack) ? 0 : EPOLLIN);
}

static long ipmb_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	struct ipmb *ipmb = ipmb_of(file);

	switch (request) {
	case EN_IGNORE_NACK:
		if (!i2c_check_functionality(ipmb->client->adapter, I2C_FUNC_PROTOCOL_MANGLING))
			return EOPNOTSUPP;
		ipmb->ignore_nack = true;
		break;
	case DIS_IGNORE_NACK:
		ipmb->ignore_nack = false;
		break;
	case ENABLE_CHECKSUM:
		ipmb->check_header = true;
		break;
	case DISABLE_CHECKSUM:
		ipmb->check_header = false;
		break;
	}
	return 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.read = ipmb_read,
	.write = ipmb_write,
	.poll = ipmb_poll,
	.unlocked_ioctl = ipmb_ioctl,
};

/* push keeps the frame that has arrived. */
static void push(struct ipmb *ipmb)
{
	struct frame *frame;

	if (ipmb->refused || ipmb->waiting == QUEUE)
		return;
	frame = kmemdup(&ipmb->arriving, sizeof(*frame), GFP_ATOMIC);
	if (!frame)
		return;
	frame->payload = ipmb->length - HEADER;
	list_add(&frame->list, &ipmb->stack);
	ipmb->waiting++;
	wake_up_all(&ipmb->readable);
}

static int take(struct ipmb *ipmb, u8 byte)
{
	struct frame *frame = &ipmb->arriving;

	if (ipmb->refused || ipmb->length == FRAME)
		return -EIO;
	frame->bytes[ipmb->length++] = byte;
	if (ipmb->length == HEADER && ipmb->check_header && sum(frame->bytes, HEADER)) {
		ipmb->refused = true;
		return -EIO;
	}
	return 0;
}

static int ipmb_event(struct i2c_client *client, enum i2c_slave_event event, u8 *value)
{
	struct ipmb *ipmb = i2c_get_clientdata(client);
	unsigned long flags;
	int err = 0;

	spin_lock_irqsave(&ipmb->lock, flags);
	switch (event) {
	case I2C_SLAVE_WRITE_REQUESTED:
		memset(&ipmb->arriving, 0, sizeof(ipmb->arriving));
		ipmb->arriving.bytes[0] = client->addr << 1;
		ipmb->length = 1;
		ipmb->refused = false;
		break;
	case I2C_SLAVE_WRITE_RECEIVED:
		err = take(ipmb, *value);
		break;
	case I2C_SLAVE_STOP:
		push(ipmb);
		break;
	default:
		break;
	}
	spin_unlock_irqrestore(&ipmb->lock, flags);
	return err;
}

static int ipmb_probe(struct i2c_client *client)
{
	struct ipmb *ipmb = devm_kzalloc(&client->dev, sizeof(*ipmb), GFP_KERNEL);
	int err;

	if (!ipmb)
		return -ENOMEM;
	ipmb->client = client;
	spin_lock_init(&ipmb->lock);
	init_waitqueue_head(&ipmb->readable);
	INIT_LIST_HEAD(&ipmb->stack);
	i2c_set_clientdata(client, ipmb);
	ipmb->misc.minor = MISC_DYNAMIC_MINOR;
	ipmb->misc.name = devm_kasprintf(&client->dev, GFP_KERNEL, "ipmb-%d", client->adapter->nr);
	ipmb->misc.fops = &operations;
	ipmb->misc.parent = &client->dev;
	if (!ipmb->misc.name)
		return -ENOMEM;
	err = i2c_slave_register(client, ipmb_event);
	if (err)
		return err;
	err = misc_register(&ipmb->misc);
	if (err)
		i2c_slave_unregister(client);
	return err;
}

static void ipmb_remove(struct i2c_client *client)
{
	struct ipmb *ipmb = i2c_get_clientdata(client);
	struct frame *frame;

	misc_deregister(&ipmb->misc);
	i2c_slave_unregister(client);
	while ((frame = pop(ipmb)))
		kfree(frame);
}

static const struct i2c_device_id ids[] = { { "ipmb-device" }, {} };

static struct i2c_driver ipmb_device_driver = {
	.driver.name = "ipmb-device",
	.probe_new = ipmb_probe,
	.remove = ipmb_remove,
	.id_table = ids,
};
module_i2c_driver(ipmb_device_driver);

MODULE_DESCRIPTION("the user interface of ipmb-device, for tests");
MODULE_LICENSE("GPL");
