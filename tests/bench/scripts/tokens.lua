-- Sends the next token of a file with each request, from the top again at its
-- end. Behind report.lua in one file.
local requests, at = {}, 0

function init(args)
  for token in io.lines(args[1]) do
    requests[#requests + 1] = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.host ..
      "\r\nAuthorization: Bearer " .. token .. "\r\n\r\n"
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
