// SPDX-License-Identifier: GPL-2.0
/*
 * kcs-loop: a KCS interface without a host processor.  To the kernel it is a
 * controller such as kcs_bmc_aspeed, whose channel /dev/ipmi-kcs<channel>
 * serves.  The host's end are the two registers of IPMI 2.0, section 9.5, as
 * the bytes of /dev/kcs-host: 0 is data in and out, 1 command and status.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/uaccess.h>
#include "kcs_bmc_device.h"

static uint channel = 11;
module_param(channel, uint, 0444);
MODULE_PARM_DESC(channel, "number of the channel");

enum { DATA_IN, DATA_OUT, STATUS, REGISTERS };

/* What the hardware keeps in the status register. */
#define HARDWARE (KCS_BMC_STR_IBF | KCS_BMC_STR_OBF | KCS_BMC_STR_CMD_DAT)

static DEFINE_SPINLOCK(lock);
static u8 registers[REGISTERS];
static u8 enabled; /* events that the driver wants */

static u8 bmc_read(struct kcs_bmc_device *kcs, u32 reg)
{
	unsigned long flags;
	u8 value;

	spin_lock_irqsave(&lock, flags);
	value = registers[reg];
	if (reg == DATA_IN)
		registers[STATUS] &= ~KCS_BMC_STR_IBF;
	spin_unlock_irqrestore(&lock, flags);
	return value;
}

static void bmc_update(struct kcs_bmc_device *kcs, u32 reg, u8 mask, u8 value)
{
	unsigned long flags;

	if (reg == STATUS)
		mask &= ~HARDWARE;
	spin_lock_irqsave(&lock, flags);
	registers[reg] = (registers[reg] & ~mask) | (value & mask);
	if (reg == DATA_OUT)
		registers[STATUS] |= KCS_BMC_STR_OBF;
	spin_unlock_irqrestore(&lock, flags);
}

static void bmc_write(struct kcs_bmc_device *kcs, u32 reg, u8 value)
{
	bmc_update(kcs, reg, 0xff, value);
}

static void bmc_enable(struct kcs_bmc_device *kcs, u8 mask, u8 events)
{
	enabled = (enabled & ~mask) | (events & mask);
}

static const struct kcs_bmc_device_ops ops = {
	.irq_mask_update = bmc_enable,
	.io_inputb = bmc_read,
	.io_outputb = bmc_write,
	.io_updateb = bmc_update,
};

static struct kcs_bmc_device device = {
	.ioreg = { .idr = DATA_IN, .odr = DATA_OUT, .str = STATUS },
	.ops = &ops,
};

/* interrupt is that of the controller. */
static void interrupt(u8 event)
{
	unsigned long flags;

	if (!(enabled & event))
		return;
	local_irq_save(flags);
	kcs_bmc_handle_event(&device);
	local_irq_restore(flags);
}

static ssize_t host_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	u8 value;

	if (!count || *at > 1)
		return 0;
	spin_lock_irq(&lock);
	value = registers[*at ? STATUS : DATA_OUT];
	if (!*at)
		registers[STATUS] &= ~KCS_BMC_STR_OBF;
	spin_unlock_irq(&lock);
	if (!*at)
		interrupt(KCS_BMC_EVENT_TYPE_OBE);
	return put_user(value, to) ? -EFAULT : 1;
}

static ssize_t host_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	u8 value;

	if (!count || *at > 1)
		return -EINVAL;
	if (get_user(value, from))
		return -EFAULT;
	spin_lock_irq(&lock);
	registers[DATA_IN] = value;
	registers[STATUS] &= ~KCS_BMC_STR_CMD_DAT;
	registers[STATUS] |= KCS_BMC_STR_IBF | (*at ? KCS_BMC_STR_CMD_DAT : 0);
	spin_unlock_irq(&lock);
	interrupt(KCS_BMC_EVENT_TYPE_IBF);
	return 1;
}

static const struct file_operations host_operations = {
	.owner = THIS_MODULE,
	.read = host_read,
	.write = host_write,
	.llseek = default_llseek,
};

static struct miscdevice host = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "kcs-host",
	.fops = &host_operations,
};

/* It stays until the guest ends. */
static int __init kcs_loop_init(void)
{
	struct platform_device *parent = platform_device_register_simple("kcs-loop", PLATFORM_DEVID_NONE, NULL, 0);
	int err;

	if (IS_ERR(parent))
		return PTR_ERR(parent);
	device.dev = &parent->dev;
	device.channel = channel;
	err = kcs_bmc_add_device(&device);
	if (!err)
		err = misc_register(&host);
	return err;
}
module_init(kcs_loop_init);

MODULE_DESCRIPTION("a KCS interface without a host processor");
MODULE_LICENSE("GPL");
