import type { FullFeature } from './full-feature.ts';
import { TaskFunction, TaskResponse } from './pdu/mod.ts';
import type { TaskManagementRequest } from './pdu/mod.ts';
import { afterAll } from './lane.ts';
import type { Session } from './session.ts';
import type { Target } from './target.ts';

/**
 * Task management (RFC 7143 §11.5, SAM-5 §7). The response is sent when every task that was aborted
 * is quiet: after it no status of theirs follows, and no late write reaches the disk.
 *
 * `respond` is called once. A cold reset also ends all sessions, which is `afterwards`: the caller
 * runs it when the response is on its way.
 */
export function manageTasks(
  request: TaskManagementRequest,
  feature: FullFeature,
  target: Target,
  respond: (response: TaskResponse, afterwards?: () => void) => void,
): void {
  const { lun } = request;
  const complete = (): void => {
    respond(TaskResponse.FUNCTION_COMPLETE);
  };
  switch (request.function) {
    case TaskFunction.ABORT_TASK:
      abortTask(request, feature, respond);
      return;
    case TaskFunction.ABORT_TASK_SET:
    case TaskFunction.CLEAR_TASK_SET:
      // One task set per I_T nexus (TST 001b, SPC-4 §7.5.8): both mean the tasks of this session.
      if (!known(feature, lun, respond)) return;
      feature.abortAll((task) => task.lun === lun, complete);
      return;
    case TaskFunction.LOGICAL_UNIT_RESET:
      if (!known(feature, lun, respond)) return;
      abortEverywhere(target, lun, () => {
        const done = feature.scsi.logicalUnitReset(lun, feature.session.nexus);
        respond(done ? TaskResponse.FUNCTION_COMPLETE : TaskResponse.LUN_DOES_NOT_EXIST);
      });
      return;
    case TaskFunction.TARGET_WARM_RESET:
    case TaskFunction.TARGET_COLD_RESET:
      abortEverywhere(target, null, () => {
        feature.scsi.targetReset(feature.session.nexus);
        const cold = request.function === TaskFunction.TARGET_COLD_RESET;
        respond(TaskResponse.FUNCTION_COMPLETE, cold ? () => endSessions(target) : undefined);
      });
      return;
    case TaskFunction.TASK_REASSIGN:
      respond(TaskResponse.REASSIGNMENT_NOT_SUPPORTED);
      return;
    default:
      // CLEAR ACA too: no unit of ours establishes an ACA condition (NACA is refused).
      respond(TaskResponse.FUNCTION_NOT_SUPPORTED);
  }
}

function known(
  feature: FullFeature,
  lun: number,
  respond: (response: TaskResponse) => void,
): boolean {
  if (feature.scsi.hasLun(lun)) return true;
  respond(TaskResponse.LUN_DOES_NOT_EXIST);
  return false;
}

function abortTask(
  request: TaskManagementRequest,
  feature: FullFeature,
  respond: (response: TaskResponse) => void,
): void {
  const task = feature.session.tasks.find(request.referencedTaskTag);
  // One connection delivers in order: a task that is not here was answered, or never sent.
  if (task === undefined || task.lun !== request.lun) {
    respond(TaskResponse.TASK_DOES_NOT_EXIST);
    return;
  }
  const respondGood = (): void => {
    respond(TaskResponse.FUNCTION_COMPLETE);
  };
  feature.abortAll((each) => each === task, respondGood);
}

function abortEverywhere(target: Target, lun: number | null, quiet: () => void): void {
  const abort = (session: Session, done: () => void): void => {
    session.owner.abortTasks(lun, done);
  };
  afterAll([...target.sessions], abort, quiet);
}

function endSessions(target: Target): void {
  target.drop(
    () => true,
    'reset',
    () => {},
  );
}
