import { z } from 'zod';
import type { MachineService } from '#machines/mod.ts';
import {
  bootRequestSchema,
  machineChangeSchema,
  machineNameSchema,
  machineView,
  machineViewSchema,
  newMachineSchema,
} from '../schema/machine.ts';
import { ERRORS, type ApiApp, type RouteContext } from './context.ts';

const params = z.strictObject({ name: machineNameSchema });
const tags = ['machines'];

/** Machines: list, show, add, change, forget, and what the next boot gets. */
export function machineRoutes(app: ApiApp, { services: { machines } }: RouteContext): void {
  listRoutes(app, machines);
  itemRoutes(app, machines);
}

function listRoutes(app: ApiApp, machines: MachineService): void {
  app.get(
    '/v1/machines',
    {
      schema: {
        tags,
        summary: 'All machines, ordered by name',
        response: { 200: z.array(machineViewSchema), ...ERRORS },
      },
    },
    () => machines.list().map(machineView),
  );
  app.post(
    '/v1/machines',
    {
      schema: {
        tags,
        summary: 'Adds a machine; one that introduced itself under one of its MACs becomes it',
        body: newMachineSchema,
        response: { 201: machineViewSchema, ...ERRORS },
      },
    },
    (request, reply) => {
      void reply.code(201);
      return machineView(machines.add(request.body));
    },
  );
}

function itemRoutes(app: ApiApp, machines: MachineService): void {
  app.get(
    '/v1/machines/:name',
    {
      schema: {
        tags,
        summary: 'One machine',
        params,
        response: { 200: machineViewSchema, ...ERRORS },
      },
    },
    (request) => machineView(machines.show(request.params.name)),
  );
  app.patch(
    '/v1/machines/:name',
    {
      schema: {
        tags,
        summary: 'Changes what the body names; null clears',
        params,
        body: machineChangeSchema,
        response: { 200: machineViewSchema, ...ERRORS },
      },
    },
    (request) => machineView(machines.set(request.params.name, request.body)),
  );
  app.delete(
    '/v1/machines/:name',
    {
      schema: {
        tags,
        summary: 'Forgets a machine; its images stay',
        params,
        response: { 204: z.null(), ...ERRORS },
      },
    },
    (request, reply) => {
      machines.rm(request.params.name);
      void reply.code(204);
      return null;
    },
  );
  app.put(
    '/v1/machines/:name/boot',
    {
      schema: {
        tags,
        summary: 'What the next boot gets instead of the standing plan, once; null takes it back',
        params,
        body: bootRequestSchema,
        response: { 200: machineViewSchema, ...ERRORS },
      },
    },
    (request) => machineView(machines.boot(request.params.name, request.body.once)),
  );
}
