// Starts the runtime and waits until it is ready.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	if os.Getenv("VM_URL") == "" || os.Getenv("TOKEN") == "" {
		log.Fatal("set VM_URL and TOKEN")
	}
	client, body := http.Client{Timeout: 2 * time.Minute}, struct{ Status struct{ State string } }{}
	request, err := http.NewRequest("POST", os.Getenv("VM_URL")+"/api/v1/vm/start", nil)
	if err != nil {
		log.Fatal(err)
	}

	request.Header = http.Header{"Authorization": {"Bearer " + os.Getenv("TOKEN")}, "Prefer": {"wait=50"}, "Idempotency-Key": {rand.Text()}}
	answer, err := client.Do(request)
	for err == nil && answer.StatusCode == 202 { // not yet: ask again, under the same key, which starts it once
		answer.Body.Close()
		wait, _ := time.ParseDuration(answer.Header.Get("Retry-After") + "s")
		time.Sleep(max(wait, time.Second))
		answer, err = client.Do(request)
	}
	if err != nil {
		log.Fatal(err)
	}
	if text, err := io.ReadAll(answer.Body); err != nil || json.Unmarshal(text, &body) != nil || answer.StatusCode != 200 {
		log.Fatalf("%s: %s", answer.Status, text)
	}
	fmt.Println(body.Status.State)
}
