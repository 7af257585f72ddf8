package bmc

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"ipmbd/bmc/record"
	"ipmbd/ipmi"
)

// repositoryCommands serve the SDR repository (IPMI v2.0, section 33) and the device's SDRs
// (section 35), which are the same records. The BMC makes the records from the configuration: it
// does not support commands that change a repository, as Get SDR Repository Info says.
var repositoryCommands = []command{
	{ipmi.NetFnStorage, 0x20, 0, 0, atOnce, getRepositoryInfo},
	{ipmi.NetFnStorage, 0x21, 0, 0, atOnce, getRepositoryAllocation},
	{ipmi.NetFnStorage, 0x22, 0, 0, atOnce, reserveRepository},
	{ipmi.NetFnStorage, 0x23, 6, 6, atOnce, getSDR},
	{ipmi.NetFnStorage, 0x28, 0, 0, atOnce, getLogTime},
	{ipmi.NetFnStorage, 0x29, 4, 4, waits, setLogTime},
	{ipmi.NetFnSensor, 0x20, 0, 1, atOnce, getDeviceSDRInfo},
	{ipmi.NetFnSensor, 0x21, 6, 6, atOnce, getDeviceSDR},
	{ipmi.NetFnSensor, 0x22, 0, 0, atOnce, reserveDeviceSDRs},
}

// Controller is a management controller that others may ask.
type Controller struct {
	// Name of the controller, 2 to 16 characters of Latin-1.
	Name string `conf:"name,required" format:"record name"`
	// Address of the controller in its 8-bit form.
	Address ipmi.Address `conf:"address,required"`
	// IPMI channel on which it is.
	Channel ipmi.Channel `conf:"ipmi-channel" range:"0..11"`
	// What it supports, as in its response to Get Device ID. For the BMC itself the default is
	// what it supports.
	Capabilities uint8 `conf:"capabilities"`
	// What the controller belongs to (IPMI v2.0, table 43-13).
	Entity uint8 `conf:"entity"`
	// Which of several entities it is.
	Instance uint8 `conf:"instance"`
}

// Validate reports what is wrong.
func (c Controller) Validate() error {
	switch _, err := record.Latin1(c.Name, record.MaxName); {
	case err != nil:
		return fmt.Errorf("controller %q: the name %w", c.Name, err)
	case !c.Address.IsSlave():
		return fmt.Errorf("controller %q: address %v", c.Name, c.Address)
	case c.Channel > ipmi.ChannelMaxImplemented:
		return fmt.Errorf("controller %q: channel %d is above %d", c.Name, c.Channel, ipmi.ChannelMaxImplemented)
	}
	return nil
}

// repository is the sensor data records of a controller.
type repository struct {
	records [][]byte // by ID, from 1
	made    record.Time

	// The reservations of Reserve SDR Repository and of Reserve Device SDR Repository. As the
	// records never change, only a reset and a new reservation of its kind end one.
	holder, deviceHolder reservation
}

const (
	// repositorySupport says that there are allocation information and reservations, but no
	// deletion, no addition in parts and no update mode.
	repositorySupport = 1<<0 | 1<<1
	// maxIPMBRead is how many bytes fit into a response of 32 bytes on IPMB, behind the ID of the
	// next record (IPMB v1.0, section 2.11).
	maxIPMBRead = 22
)

// own is the BMC itself: the primary BMC is on channel 0 (IPMI v2.0, table 43-8).
var own = Controller{Name: "BMC", Address: ipmi.BMCAddress}

// isOwn reports whether a controller is the BMC itself.
func (c Controller) isOwn() bool { return c.Address == own.Address && c.Channel == own.Channel }

// withOwn returns controllers with the BMC among them. Programs take a repository without records
// for one that they have to fill. The BMC has name and entity of its primary FRU device, if there
// is one and the configuration does not give it others.
func withOwn(controllers []Controller, frus []*fruDevice) []Controller {
	own := own
	own.Capabilities = uint8(supportWith(frus))
	for _, d := range frus {
		if d.isPrimary() {
			own.Name, own.Entity, own.Instance = d.Name, d.Entity, d.Instance
		}
	}
	i := slices.IndexFunc(controllers, Controller.isOwn)
	if i < 0 {
		return slices.Concat([]Controller{own}, controllers)
	}
	all := slices.Clone(controllers)
	if all[i].Entity == 0 {
		all[i].Entity, all[i].Instance = own.Entity, own.Instance
	}
	all[i].Capabilities = cmp.Or(all[i].Capabilities, own.Capabilities)
	return all
}

// newRepository makes the records of all controllers, sensors and further FRU devices.
func (b *BMC) newRepository() *repository {
	r := &repository{made: record.TimeOf(b.log.Now())}
	add := func(sdr record.SDR) { r.records = append(r.records, sdr.Append(nil, uint16(len(r.records)+1))) }
	for _, c := range withOwn(b.config.Controllers, b.frus) {
		add(record.ControllerLocator(c))
	}
	for _, s := range b.sensors {
		add(s.sdr())
	}
	for _, d := range b.frus {
		if !d.isPrimary() {
			add(record.FRULocator{Owner: ipmi.BMCAddress, ID: d.ID, Entity: d.Entity, Instance: d.Instance, Name: d.Name})
		}
	}
	return r
}

// sdr is the record of the sensor.
func (s *sensor) sdr() record.Sensor {
	r := record.Sensor{
		Owner: ipmi.BMCAddress, Number: s.Number, Entity: s.Entity, Instance: s.Instance, Settable: s.settable(),
		Type: s.Type, EventType: s.EventType, Masks: [3]uint16{s.States, s.States, s.States}, Name: s.Name,
	}
	if s.discrete() {
		return r
	}
	events, present, t := s.possible(), uint16(s.present), s.thresholds
	r.Masks = [3]uint16{events | present&0x07<<12, events | present>>3<<12, present | present<<8}
	r.Analog = &record.Analog{
		Unit: s.Unit, Factors: s.factors.bytes(), Hysteresis: s.hysteresis,
		Thresholds: [...]byte{t[upperNonRecoverable], t[upperCritical], t[upperNonCritical],
			t[lowerNonRecoverable], t[lowerCritical], t[lowerNonCritical]},
	}
	return r
}

// getRepositoryInfo answers with the version, the number of records, free bytes, the times of the
// last addition and erasure, and the supported operations.
func getRepositoryInfo(b *BMC, _ *ipmi.Request) ipmi.Response {
	r := b.repository
	data := append([]byte{record.SDRVersion}, words(len(r.records), 0)...)
	data = binary.LittleEndian.AppendUint32(data, uint32(r.made))
	data = binary.LittleEndian.AppendUint32(data, uint32(record.NoTime))
	return answer(append(data, repositorySupport)...)
}

// getRepositoryAllocation answers with the number of units, bytes of each, free units, the
// largest free block, and the largest record in units.
func getRepositoryAllocation(b *BMC, _ *ipmi.Request) ipmi.Response {
	return answer(append(words(len(b.repository.records), record.MaxSDRLength, 0, 0), 1)...)
}

func reserveRepository(b *BMC, req *ipmi.Request) ipmi.Response {
	return b.repository.holder.reserve(ownerOf(req))
}

func reserveDeviceSDRs(b *BMC, req *ipmi.Request) ipmi.Response {
	return b.repository.deviceHolder.reserve(ownerOf(req))
}

// findRecord is the record of an ID and the ID of the next one; nil if there is none.
func (r *repository) findRecord(id uint16) (whole []byte, next uint16) {
	last := uint16(len(r.records))
	switch {
	case id == record.First:
		id = min(1, last)
	case id == record.Last:
		id = last
	}
	switch {
	case id == 0 || id > last:
		return nil, 0
	case id == last:
		return r.records[id-1], record.Last
	}
	return r.records[id-1], id + 1
}

func getSDR(b *BMC, req *ipmi.Request) ipmi.Response {
	return b.repository.answerPart(req, &b.repository.holder)
}

func getDeviceSDR(b *BMC, req *ipmi.Request) ipmi.Response {
	return b.repository.answerPart(req, &b.repository.deviceHolder)
}

// answerPart refuses more bytes than IPMB carries, so that the requester tries fewer.
func (repo *repository) answerPart(req *ipmi.Request, holder *reservation) ipmi.Response {
	r := answerPart(req, holder, repo.findRecord)
	if req.Requester != 0 && len(r.Data)-lengthOfID > maxIPMBRead {
		return refuse(ipmi.CodeCannotReturnBytes)
	}
	return r
}

// getDeviceSDRInfo takes what to count: sensors, which is the default, or records. It answers
// with the number, and which LUNs have sensors, which do not change: LUN 0 or none.
func getDeviceSDRInfo(b *BMC, req *ipmi.Request) ipmi.Response {
	const countSensors, countRecords, sensorsOnLUN0 = 0, 1, 1 << 0
	var flags byte
	if len(b.sensors) > 0 {
		flags = sensorsOnLUN0
	}
	count := len(b.sensors)
	switch {
	case len(req.Data) == 0 || req.Data[0] == countSensors:
	case req.Data[0] == countRecords:
		count = len(b.repository.records)
	default:
		return refuse(ipmi.CodeInvalidField)
	}
	return answer(byte(min(count, 0xFF)), flags)
}
