// Package all is the list of Orderflow's plugins. Importing it registers them.
package all

import (
	_ "github.com/orderflow/orderflow/plugins/backoffretry"
	_ "github.com/orderflow/orderflow/plugins/deadletter"
	_ "github.com/orderflow/orderflow/plugins/deliveryreport"
	_ "github.com/orderflow/orderflow/plugins/dlqredrive"
	_ "github.com/orderflow/orderflow/plugins/dlqsummary"
	_ "github.com/orderflow/orderflow/plugins/fakeorder"
	_ "github.com/orderflow/orderflow/plugins/kafkatransactional"
	_ "github.com/orderflow/orderflow/plugins/orderdecode"
	_ "github.com/orderflow/orderflow/plugins/orderencode"
	_ "github.com/orderflow/orderflow/plugins/ordervalidate"
	_ "github.com/orderflow/orderflow/plugins/rejectdeadletters"
	_ "github.com/orderflow/orderflow/plugins/runningaggregate"
)
