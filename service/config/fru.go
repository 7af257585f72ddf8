package config

import (
	"math"

	"ipmbd/bmc"
	"ipmbd/bmc/record"
)

// fruKeys are the keys of one FRU inventory device.
var fruKeys = setters[bmc.FRUConfig]{
	"id":       func(r *reader, n node, key string, f *bmc.FRUConfig) { number(r, n, key, math.MaxUint8, &f.ID) },
	"name":     func(r *reader, n node, key string, f *bmc.FRUConfig) { r.text(n, key, &f.Name) },
	"entity":   func(r *reader, n node, key string, f *bmc.FRUConfig) { number(r, n, key, math.MaxUint8, &f.Entity) },
	"instance": func(r *reader, n node, key string, f *bmc.FRUConfig) { number(r, n, key, math.MaxUint8, &f.Instance) },
	"file":     func(r *reader, n node, key string, f *bmc.FRUConfig) { r.text(n, key, &f.File) },
	"size":     func(r *reader, n node, key string, f *bmc.FRUConfig) { r.count(n, key, &f.Size) },
	"chassis": func(r *reader, n node, key string, f *bmc.FRUConfig) {
		area(r, n, key, fruChassisKeys, &fieldsOf(f).Chassis)
	},
	"board": func(r *reader, n node, key string, f *bmc.FRUConfig) {
		area(r, n, key, fruBoardKeys, &fieldsOf(f).Board)
	},
	"product": func(r *reader, n node, key string, f *bmc.FRUConfig) {
		area(r, n, key, fruProductKeys, &fieldsOf(f).Product)
	},
}

var fruChassisKeys = setters[record.FRUChassis]{
	"type":          func(r *reader, n node, key string, c *record.FRUChassis) { number(r, n, key, math.MaxUint8, &c.Type) },
	"part-number":   func(r *reader, n node, key string, c *record.FRUChassis) { r.text(n, key, &c.PartNumber) },
	"serial-number": func(r *reader, n node, key string, c *record.FRUChassis) { r.text(n, key, &c.SerialNumber) },
	"custom":        func(r *reader, n node, key string, c *record.FRUChassis) { r.texts(n, key, &c.Custom) },
}

var fruBoardKeys = setters[record.FRUBoard]{
	"made":          func(r *reader, n node, key string, b *record.FRUBoard) { r.date(n, key, &b.Made) },
	"manufacturer":  func(r *reader, n node, key string, b *record.FRUBoard) { r.text(n, key, &b.Manufacturer) },
	"name":          func(r *reader, n node, key string, b *record.FRUBoard) { r.text(n, key, &b.Name) },
	"serial-number": func(r *reader, n node, key string, b *record.FRUBoard) { r.text(n, key, &b.SerialNumber) },
	"part-number":   func(r *reader, n node, key string, b *record.FRUBoard) { r.text(n, key, &b.PartNumber) },
	"custom":        func(r *reader, n node, key string, b *record.FRUBoard) { r.texts(n, key, &b.Custom) },
}

var fruProductKeys = setters[record.FRUProduct]{
	"manufacturer":  func(r *reader, n node, key string, p *record.FRUProduct) { r.text(n, key, &p.Manufacturer) },
	"name":          func(r *reader, n node, key string, p *record.FRUProduct) { r.text(n, key, &p.Name) },
	"part-number":   func(r *reader, n node, key string, p *record.FRUProduct) { r.text(n, key, &p.PartNumber) },
	"version":       func(r *reader, n node, key string, p *record.FRUProduct) { r.text(n, key, &p.Version) },
	"serial-number": func(r *reader, n node, key string, p *record.FRUProduct) { r.text(n, key, &p.SerialNumber) },
	"asset-tag":     func(r *reader, n node, key string, p *record.FRUProduct) { r.text(n, key, &p.AssetTag) },
	"custom":        func(r *reader, n node, key string, p *record.FRUProduct) { r.texts(n, key, &p.Custom) },
}

func fieldsOf(f *bmc.FRUConfig) *record.FRU {
	if f.Fields == nil {
		f.Fields = new(record.FRU)
	}
	return f.Fields
}

// area reads an area of a FRU, which is there when it is named.
func area[A any](r *reader, n node, key string, known setters[A], into **A) {
	*into = new(A)
	object(r, n, key, known, *into)
}
