-- wrk's script: posts events as the browser SDK writes them. One of many visitors, User-Agents and addresses is drawn
-- for each request. Environment: PIPE_UAS (file, a User-Agent a line), PIPE_IPS (number of addresses; 0: any public
-- one), PIPE_VISITORS, PIPE_EVERY (ms between two requests of a connection; absent: as fast as answers come),
-- PIPE_EVENTS (events of a request: an array; absent: one event as the SDK sends it).

local visitors = tonumber(os.getenv("PIPE_VISITORS") or "5000")
local addresses = tonumber(os.getenv("PIPE_IPS") or "20")
local every = tonumber(os.getenv("PIPE_EVERY") or "")
local events = tonumber(os.getenv("PIPE_EVENTS") or "1")
local agents, ready, thread_number = {}, {}, 0

local body = '{"service":"track","name":"page","data":{},"projectId":1617632140,"uid":"6410748586%09d",'
  .. '"user":{"ts":1537243840171,"tz":"Moscow Standard Time","tzo":180000},'
  .. '"page":{"title":"Rockstat platform","ref":"","url":"https://rock.st/docs/"},'
  .. '"sess":{"pageNum":1,"eventNum":1,"type":"direct","marks":{},"hasMarks":false,"num":1,"start":1537242940499},'
  .. '"char":{"ls":true,"sb":true},"browser":{"w":1440,"h":415},'
  .. '"lib":{"id":"web-sdk","v":40400000,"sv":"4.0.0"},"perf":{"cs":0,"dl":1581}}'
local head = "POST /band/t4k.json? HTTP/1.1\r\nHost: t.rock.st\r\nContent-Type: %s\r\n"
  .. "Origin: https://rock.st\r\nReferer: https://rock.st/docs/\r\nAccept: */*\r\nAccept-Language: en-US,en;q=0.9\r\n"
  .. "Accept-Encoding: gzip, deflate, br\r\nX-Forwarded-Host: t.rock.st\r\nX-Real-IP: %s\r\nUser-Agent: %s\r\n"
  .. "Content-Length: %d\r\n\r\n"

function setup(thread)
  thread:set("number", thread_number)
  thread_number = thread_number + 1
end

function init()
  math.randomseed(os.time() + number * 7919)
  for line in io.lines(os.getenv("PIPE_UAS")) do agents[#agents + 1] = line end
end

local function address()
  if addresses > 0 then return "2.125.160." .. math.random(addresses) end
  return string.format("%d.%d.%d.%d", math.random(11, 99), math.random(0, 255), math.random(0, 255), math.random(1, 254))
end

local function content()
  if events == 1 then return string.format(body, math.random(visitors)) end
  local found = {}
  for place = 1, events do found[place] = string.format(body, math.random(visitors)) end
  return "[" .. table.concat(found, ",") .. "]"
end

local kind = events == 1 and "text/plain;charset=UTF-8" or "application/json"

local function make()
  local sent = content()
  return string.format(head, kind, address(), agents[math.random(#agents)], #sent) .. sent
end

-- Where answers are known anyway, requests are made beforehand: the generator shall cost as little as it can.
function request()
  if addresses == 0 then return make() end
  local place = math.random(math.ceil(4000 / events))
  local known = ready[place]
  if not known then
    known = make()
    ready[place] = known
  end
  return known
end

if every then
  function delay() return math.floor(every * (0.5 + math.random()) + 0.5) end
end
