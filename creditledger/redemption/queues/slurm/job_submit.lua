-- Jobs that must be paid for wait, held, until creditledger has set their credits aside. No I/O here:
-- the controller answers nobody else while this runs.
-- Written by `creditledger queue install`: install again rather than edit.

local MARK = "creditledger"
local SHADOW = @SHADOW@
local ADMINISTRATORS = { [0] = true, [@USER_ID@] = true }
local ALL_JOBS_OF = { @ACCOUNTS@ }
local RESOURCES = { "tres_per_job", "tres_per_node", "tres_per_socket", "tres_per_task", "gres" }
local SIZES = {
   { "time_limit", slurm.NO_VAL }, { "num_tasks", slurm.NO_VAL }, { "min_nodes", slurm.NO_VAL },
   { "max_nodes", slurm.NO_VAL }, { "min_cpus", slurm.NO_VAL }, { "max_cpus", slurm.NO_VAL },
   { "shared", slurm.NO_VAL16 }, { "ntasks_per_node", slurm.NO_VAL16 },
}
local NAMES = { "account", "partition", "qos", "array_inx" }

local function begins_with(text, start)
   return text ~= nil and string.sub(text, 1, #start) == start
end

local function asks_for_gpus(job)
   for _, name in ipairs(RESOURCES) do
      local asked = job[name]
      if asked ~= nil and string.find(asked, "gpu", 1, true) then
         return true
      end
   end
   return false
end

function slurm_job_submit(job, partitions, user_id)
   local account = job.account or job.default_account
   if not asks_for_gpus(job) and not (account ~= nil and ALL_JOBS_OF[account]) then
      return slurm.SUCCESS
   end
   job.admin_comment = job.priority == 0 and MARK .. " own-hold" or MARK
   if not SHADOW then
      job.priority = 0
   end
   return slurm.SUCCESS
end

local function changes_what_is_paid(change)
   for _, name in ipairs(RESOURCES) do
      if change[name] ~= nil and change[name] ~= "" then
         return true
      end
   end
   for _, name in ipairs(NAMES) do
      if change[name] ~= nil and change[name] ~= "" then
         return true
      end
   end
   for _, size in ipairs(SIZES) do
      if change[size[1]] ~= nil and change[size[1]] ~= size[2] then
         return true
      end
   end
   return false
end

function slurm_job_modify(change, job, partitions, user_id)
   local mark = job.admin_comment
   if SHADOW or ADMINISTRATORS[user_id] or not begins_with(mark, MARK) then
      return slurm.SUCCESS
   end
   local is_paid = begins_with(mark, MARK .. " paid")
   local is_own = is_paid or mark == MARK .. " own-hold"
   if change.priority ~= slurm.NO_VAL and change.priority ~= 0 and not is_own then
      slurm.log_user("this job starts when it is paid for: " .. mark)
      return slurm.ERROR
   end
   if (is_paid or begins_with(mark, MARK .. " paying")) and changes_what_is_paid(change) then
      slurm.log_user("this job is paid for as it is: cancel it and submit another")
      return slurm.ERROR
   end
   return slurm.SUCCESS
end

return slurm.SUCCESS
