package routes_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"

	"github.com/busdk/bus-api-provider-vm/backend/lifecycle"
	"github.com/busdk/bus-api-provider-vm/routes"
)

// Each of many callers at once is answered about itself, and what was kept of
// a request is still its own when its connection has carried many others: the
// server reuses the memory of every string it hands out.
func TestConcurrentCallersKeepApart(t *testing.T) {
	const callers, writes = 24, 40
	var mu sync.Mutex
	var kept []lifecycle.Operation
	keep := func(op lifecycle.Operation) {
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, op)
	}
	w := serve(t, func(w *world, c *routes.Config) {
		everything(w, c)
		w.billing.answer = func(_ context.Context, who, _ string) error {
			keep(lifecycle.Operation{Account: who})
			return nil
		}
		w.records.requested = func(w lifecycle.Write) (func() error, error) {
			keep(lifecycle.Operation{Account: w.Account, RequestID: w.RequestID})
			return nil, nil
		}
		w.runtime.apply = func(_ context.Context, op lifecycle.Operation) (lifecycle.Outcome, error) {
			keep(op)
			return lifecycle.Rejected, rejection("echo", op.Account+" "+op.RequestID+" "+string(op.Action), nil)
		}
	})

	var want []string
	var group sync.WaitGroup
	for caller := range callers {
		who := uuid.NewString()
		for i := range writes {
			want = append(want, who, fmt.Sprint(who, requestID(caller, i)), fmt.Sprint(who, requestID(caller, i)))
		}
		group.Go(func() {
			client := http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := range writes {
				// Every third token was never seen before.
				scope := fmt.Sprintf("vm:write x%d", i/3)
				action := []string{"start", "stop"}[i%2]
				request, err := http.NewRequest("POST", "http://"+w.addr.String()+"/api/v1/vm/"+action, nil)
				if !assert.NoError(t, err) {
					return
				}
				request.Header.Set("Authorization", "Bearer "+token(who, scope))
				request.Header.Set("X-Request-Id", requestID(caller, i))
				reply, err := client.Do(request)
				if !assert.NoError(t, err) {
					return
				}
				body, err := io.ReadAll(reply.Body)
				_ = reply.Body.Close()
				assert.NoError(t, err)
				assert.Equal(t, requestID(caller, i), reply.Header.Get("X-Request-Id"))
				assert.Equal(t, fmt.Sprintf(`{"error":{"type":"echo","message":"%s %s %s","outcome":"rejected","request_id":"%[2]s"}}`,
					who, requestID(caller, i), action), string(body))
			}
		})
	}
	group.Wait()
	var got []string
	for _, op := range kept {
		got = append(got, op.Account+op.RequestID)
	}
	slices.Sort(want)
	slices.Sort(got)
	assert.Equal(t, want, got)
}

// requestID differs in length, so that reused memory shows.
func requestID(caller, i int) string {
	return fmt.Sprintf("%0*d", 1+(caller*7+i*13)%90, 1+caller*1000+i)
}
