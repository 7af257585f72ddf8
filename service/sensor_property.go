package service

import (
	"context"
	"sync"
	"time"

	"ipmbd/bmc"
	"ipmbd/internal/openbmc"
	"ipmbd/service/config"
)

const (
	// propertyTime is how long a service may take to return the value of a sensor.
	propertyTime = 500 * time.Millisecond
	// freshTime is how long a value holds while its service does not answer: one miss is no fault.
	freshTime = 2*time.Second + propertyTime
)

// sensorProperty is the value of a sensor that is a property on D-Bus. The service reads it in
// advance so that no request waits for another service. Its methods may be called from several
// goroutines.
type sensorProperty struct {
	property openbmc.Property

	mu    sync.Mutex
	value float64
	asked time.Time // when the value was read
	err   error     // nil, or why there is none
}

func newSensorProperty(p config.Property) *sensorProperty {
	return &sensorProperty{
		property: openbmc.Property{Service: p.Service, Path: p.Path, Interface: p.Interface, Name: p.Property},
		err:      bmc.ErrNoValue,
	}
}

// last is the value that was read last, or why there is none.
func (p *sensorProperty) last() (float64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil && time.Since(p.asked) > freshTime {
		return 0, context.DeadlineExceeded
	}
	return p.value, p.err
}

// numberReader is openbmc.System, or a fake in tests.
type numberReader interface {
	Number(ctx context.Context, p openbmc.Property) (float64, error)
}

// ask reads the value. The last value stays while the service does not reply.
func (p *sensorProperty) ask(ctx context.Context, from numberReader) {
	ctx, cancel := context.WithTimeout(ctx, propertyTime)
	defer cancel()
	now := time.Now()
	value, err := from.Number(ctx, p.property)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && ctx.Err() != nil && p.err == nil {
		return
	}
	p.value, p.asked, p.err = value, now, err
}

// askForProperties reads the values of sensors until ctx ends. It asks each service for one value
// after the other, so that a service that hangs delays no other.
func askForProperties(ctx context.Context, from numberReader, all []*sensorProperty) {
	services := make(map[string][]*sensorProperty)
	for _, p := range all {
		services[p.property.Service] = append(services[p.property.Service], p)
	}
	var asking sync.WaitGroup
	for _, properties := range services {
		asking.Go(func() {
			eachTick(ctx, pollTime, func() {
				for _, p := range properties {
					p.ask(ctx, from)
				}
			})
		})
	}
	asking.Wait()
}

// eachTick does something at once, and then as often as that, until ctx ends.
func eachTick(ctx context.Context, every time.Duration, do func()) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
