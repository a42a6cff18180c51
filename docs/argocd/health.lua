-- Argo CD health of an LLMDeployment: the rules of kstatus, in Lua.
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "Waiting for the operator"}
end
if obj.spec ~= nil and obj.spec.suspend then
  return {status = "Suspended", message = "spec.suspend is true"}
end
local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end
local function is_true(kind)
  return found[kind] ~= nil and found[kind].status == "True"
end
local message = "Waiting for the condition Ready"
if found.Ready ~= nil then
  message = found.Ready.message
end
if is_true("Reconciling") then
  return {status = "Progressing", message = message}
end
if is_true("Stalled") then
  return {status = "Degraded", message = found.Stalled.message}
end
if is_true("Ready") then
  return {status = "Healthy", message = message}
end
return {status = "Progressing", message = message}
