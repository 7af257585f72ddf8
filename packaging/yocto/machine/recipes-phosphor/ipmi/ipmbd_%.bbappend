# For the layer of a machine that had ipmbbridge. Copy this file there, and move the
# machine's file, which belongs to the package of ipmbbridge and would not be installed:
#
#   git mv phosphor-ipmi-ipmb/ipmb-channels.json ipmbd/
#   git rm phosphor-ipmi-ipmb_%.bbappend
#
# The build fails if ipmbd would not serve each entry of the file, or would ignore a key.
# Without --strict it fails only if ipmbd would not start.

FILESEXTRAPATHS:prepend := "${THISDIR}/${BPN}:"
SRC_URI:append:class-target = " file://ipmb-channels.json"
DEPENDS:append:class-target = " ipmbd-native"

do_install:append:class-target() {
	install -D -m 644 -t ${D}${datadir}/ipmbbridge ${UNPACKDIR}/ipmb-channels.json
	ipmbd --check-config --strict --ipmbbridge --config ${D}${datadir}/ipmbbridge/ipmb-channels.json
}
