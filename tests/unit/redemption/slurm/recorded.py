"""What Slurm 22.05.8 printed, cut to the fields that are read."""

import json
from typing import Any

HELD: dict[str, Any] = {
    "account": "lab1",
    "admin_comment": "creditledger",
    "array_job_id": 0,
    "array_task_id": None,
    "array_task_string": "",
    "het_job_id": 0,
    "job_id": 1,
    "job_state": "PENDING",
    "node_count": 1,
    "priority": 0,
    "restart_cnt": 0,
    "shared": None,
    "state_reason": "JobHeldUser",
    "submit_time": 1795421120,
    "time_limit": 2,
    "tres_req_str": "cpu=1,mem=1000M,node=1,billing=1,gres/gpu=2,gres/gpu:h100=2",
    "user_id": 0,
    "user_name": "root",
}
ARRAY = HELD | {
    "job_id": 2,
    "array_job_id": 2,
    "array_task_string": "1-3",
    "tres_req_str": "cpu=1,node=1,gres/gpu=2",
}
TASK = ARRAY | {"job_id": 7, "array_task_id": 2, "array_task_string": "", "job_state": "COMPLETED"}
EXCLUSIVE = HELD | {
    "job_id": 5,
    "shared": "none",
    "time_limit": None,
    "tres_req_str": "cpu=1,node=1,gres/gpu=1",
}
REQUEUED = HELD | {
    "admin_comment": "creditledger paid: ab",
    "priority": 4294901758,
    "restart_cnt": 1,
    "state_reason": "BeginTime",
    "submit_time": 1795421153,
}
NO_CONTROLLER = {
    "errors": [
        {
            "description": "Failed while looking for jobs",
            "error_number": -1,
            "error": "Unspecified error",
            "source": "slurm_load_jobs",
        }
    ],
    "jobs": [],
}
"""With this it exits with 0."""
ROWS = """\
test|1|1|REQUEUED|1795421120|1795421150|1795421153|3|billing=1,cpu=1,gres/gpu:h100=2,gres/gpu=2,node=1
test|8|2_2|COMPLETED|1795421120|1795421150|1795421153|3|billing=1,cpu=1,gres/gpu:h100=2,gres/gpu=2,node=1
test|9|1|RUNNING|1795421153|1795421274|Unknown|4|billing=1,cpu=1,gres/gpu:h100=2,gres/gpu=2,node=1
test|10|3|CANCELLED by 1000|1795421120|None|1795421160|0|
"""


def squeue(*jobs: dict[str, Any]) -> str:
    """The output with these jobs."""
    return json.dumps({"meta": {}, "errors": [], "jobs": list(jobs)})
