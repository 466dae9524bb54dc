"""The steps of tasks in Redis, each a Lua script: it happens wholly or not at all, whatever dies.

KEYS[1] is the prefix of a service's keys. The last argument is when whoever asked gives up, by
Redis's own clock: what Redis reads later, after a pause, is refused. Nobody waits for it any more.
"""

# What every script begins with. KEYS[1] is the prefix; the rest of the keys are in the same slot.
PRELUDE = """
local prefix = KEYS[1]
local waiting, leases = prefix .. 'waiting', prefix .. 'leases'
local deliveries = prefix .. 'deliveries'
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function text(number) return string.format('%.6f', number) end
if now > tonumber(ARGV[#ARGV]) then return redis.error_reply('LATE ' .. text(now)) end
local function key(id) return prefix .. 'task:' .. id end
local function end_task(id, status, kept_ms)
    redis.call('ZREM', waiting, id)
    redis.call('ZREM', leases, id)
    redis.call('HSET', key(id), 'status', status, 'ended_at', text(now))
    redis.call('PEXPIRE', key(id), kept_ms)
    if redis.call('HGET', key(id), 'webhook') ~= '' then
        redis.call('ZADD', deliveries, text(now), id)
    end
end
local function wait(id)
    redis.call('ZREM', leases, id)
    redis.call('HSET', key(id), 'owner', '')
    redis.call('ZADD', waiting, redis.call('HGET', key(id), 'created_at'), id)
end
local function holds(id, owner, attempts)
    local found = redis.call('HMGET', key(id), 'owner', 'attempts')
    return found[1] == owner and found[2] == attempts
end
local function is_open(id) return redis.call('HGET', key(id), 'status') == 'in_progress' end
local function take_over()
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', text(now))) do
        if is_open(id) then wait(id) else redis.call('ZREM', leases, id) end
    end
end
local function is_full(limit)
    return redis.call('ZCARD', waiting) + redis.call('ZCARD', leases) >= tonumber(limit)
end
local function keep(id, api, request, body, webhook)
    redis.call('HSET', key(id), 'api', api, 'status', 'in_progress', 'owner', '', 'attempts', '0',
        'created_at', text(now), 'request', request, 'body', body, 'webhook', webhook)
    redis.call('ZADD', waiting, text(now), id)
    return text(now)
end
"""
SCRIPTS = {
    "submit": """
        local id, limit, api, request, body, webhook = unpack(ARGV)
        if is_full(limit) then return false end
        return keep(id, api, request, body, webhook)
    """,
    "submit_again": """
        local id, limit, api, old = unpack(ARGV)
        if is_full(limit) then return false end
        local kept = redis.call('HMGET', key(old), 'api', 'request', 'body', 'webhook')
        if kept[1] ~= api then return '' end
        return keep(id, api, kept[2], kept[3], kept[4])
    """,
    "cancel": """
        local id, api, kept_ms = unpack(ARGV)
        if not is_open(id) or redis.call('HGET', key(id), 'api') ~= api then return 0 end
        end_task(id, 'cancelled', kept_ms)
        return 1
    """,
    "claim": """
        local owner, lease_s = unpack(ARGV)
        take_over()
        while true do
            local first = redis.call('ZPOPMIN', waiting)
            if #first == 0 then return false end
            local id = first[1]
            if is_open(id) then
                redis.call('HINCRBY', key(id), 'attempts', 1)
                redis.call('HSET', key(id), 'owner', owner, 'executed_at', text(now))
                redis.call('ZADD', leases, text(now + tonumber(lease_s)), id)
                local kept = redis.call('HMGET', key(id), 'api', 'attempts', 'request', 'body')
                return {id, kept[1], kept[2], kept[3], kept[4]}
            end
        end
    """,
    "renew": """
        local owner, lease_s = ARGV[1], tonumber(ARGV[2])
        local lost = {}
        for i = 3, #ARGV - 1, 2 do
            local id = ARGV[i]
            if is_open(id) and holds(id, owner, ARGV[i + 1]) then
                redis.call('ZADD', leases, text(now + lease_s), id)
            else
                lost[#lost + 1] = id
            end
        end
        return lost
    """,
    "finish": """
        local id, owner, attempts, status, kept_ms, response, body = unpack(ARGV)
        if not holds(id, owner, attempts) then return 0 end
        local known = redis.call('HGET', key(id), 'status')
        if known == 'cancelled' then return 0 end
        -- Said once before, by the same: its reply was lost on the way.
        if known ~= 'in_progress' then return 1 end
        -- First what takes no memory: then a Redis that is full lets the rest be written.
        redis.call('ZREM', leases, id)
        redis.call('HSET', key(id), 'response', response, 'response_body', body)
        end_task(id, status, kept_ms)
        return 1
    """,
    "release": """
        local id, owner, attempts = unpack(ARGV)
        if is_open(id) and holds(id, owner, attempts) then
            redis.call('HINCRBY', key(id), 'attempts', -1)
            wait(id)
        end
    """,
    "take_over": """
        take_over()
        return text(now)
    """,
    "expire_waiting": """
        local waiting_s, kept_ms, response, body = unpack(ARGV)
        local before = text(now - tonumber(waiting_s))
        local apis = {}
        for _, id in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', '(' .. before)) do
            if is_open(id) then
                redis.call('HSET', key(id), 'response', response, 'response_body', body)
                end_task(id, 'failure', kept_ms)
                apis[#apis + 1] = redis.call('HGET', key(id), 'api')
            else
                redis.call('ZREM', waiting, id)
            end
        end
        return apis
    """,
    "claim_delivery": """
        local hold_s = tonumber(ARGV[1])
        while true do
            local due = redis.call('ZRANGEBYSCORE', deliveries, '-inf', text(now), 'LIMIT', 0, 1)
            if #due == 0 then return false end
            local id = due[1]
            if redis.call('EXISTS', key(id)) == 0 then
                redis.call('ZREM', deliveries, id)
            else
                redis.call('ZADD', deliveries, text(now + hold_s), id)
                redis.call('HINCRBY', key(id), 'delivery_attempts', 1)
                local kept = redis.call('HMGET', key(id), 'api', 'status', 'created_at',
                    'executed_at', 'webhook', 'delivery_attempts', 'response', 'response_body')
                return {id, unpack(kept)}
            end
        end
    """,
    "end_delivery": """
        local id, again_in_s = unpack(ARGV)
        if again_in_s == '' then
            redis.call('ZREM', deliveries, id)
        else
            redis.call('ZADD', deliveries, 'XX', text(now + tonumber(again_in_s)), id)
        end
    """,
}
