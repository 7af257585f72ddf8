// Package hostd is a host IPMI daemon for tests: a small C program on sd-bus that owns the name,
// the object and the method of openbmc/phosphor-host-ipmid (include/ipmid/api.hpp there) and
// behaves like it:
//
//   - it refuses callers that are neither uid 0 nor its own user, because its
//     sd-bus vtable is privileged, as that of the real one is;
//   - the options rqSA and hostId must be int32, exactly, or the call fails;
//   - it answers in any order and without a deadline.
//
// It answers Get Device ID (the answer is [DeviceID]) and the commands of network function
// [NetFn], which ask it to show the request, to be slow, or to misbehave; all others with C1h,
// invalid command.
//
// The program is compiled when it is first needed, with cc and pkg-config.
package hostd
