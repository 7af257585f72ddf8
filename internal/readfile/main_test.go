package readfile

import (
	"testing"

	"ipmbd/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m) }
