// Starts the runtime and waits until it is ready.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	client, body := http.Client{Timeout: 2 * time.Minute}, struct{ Status, Error map[string]any }{}
	request, _ := http.NewRequest("POST", os.Getenv("VM_URL")+"/api/v1/vm/start", nil)
	request.Header = http.Header{"Authorization": {"Bearer " + os.Getenv("TOKEN")}, "Prefer": {"wait=50"}, "Idempotency-Key": {rand.Text()}}
	for status := 202; status == 202; { // not yet: wait again, under the same key, which starts it once
		answer, err := client.Do(request)
		if err == nil {
			status, err = answer.StatusCode, json.NewDecoder(answer.Body).Decode(&body)
		}
		if err != nil || body.Error != nil {
			log.Fatalln(status, body.Error, err)
		}
	}
	fmt.Println(body.Status["state"])
}
