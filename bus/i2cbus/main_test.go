package i2cbus

import (
	"testing"

	"ipmbd/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m) }
