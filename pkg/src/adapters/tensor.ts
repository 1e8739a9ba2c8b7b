// transformers.js' `Tensor`, as far as vectors need it: the same names, arguments and results, without ONNX Runtime.

import { EmbervecError } from "../index.js";

/** Type of a tensor's numbers. */
export type DataType = "float32" | "float64" | "int8" | "uint8" | "int16" | "uint16" | "int32" | "uint32" | "bool";
/** A tensor's numbers, row by row. */
export type DataArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array;
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  bool: Uint8Array,
} as const satisfies Record<DataType, new (size: number) => DataArray>;

/** What {@link Tensor.tolist} gives: numbers in as many arrays as there are dimensions. */
// oxlint-disable-next-line typescript/no-explicit-any -- as in transformers.js: only the tensor knows how deep it is
export type NestedArray = any[];

/** Of transformers.js, but not here. */
const MISSING = ["ort_tensor", "remainder", "remainder_", "repeat", "tile"];

const invalid = (message: string) => new EmbervecError("invalid_input", `Tensor: ${message}`);
const sizeOf = (dims: readonly number[]) => dims.reduce((product, dim) => product * dim, 1);

function stridesOf(dims: readonly number[]): number[] {
  return dims.map((_, i) => sizeOf(dims.slice(i + 1)));
}

/** From the end where it is negative. */
function indexIn(index: number, size: number): number {
  if (!Number.isInteger(index) || index < -size || index >= size) {
    throw invalid(`index ${index} is out of bounds for a dimension of size ${size}`);
  }
  return index < 0 ? index + size : index;
}

function arrayOf(type: DataType, size: number): DataArray {
  return new ARRAYS[type](size);
}

/** Numbers in several dimensions. `tensor[i]` is the part `i` of the first dimension. */
export class Tensor {
  /** The part of the first dimension at this index. */
  readonly [index: number]: Tensor;
  /** The size of each dimension. */
  dims: number[];
  /** The type of the numbers. */
  readonly type: DataType;
  /** The numbers, row by row. */
  readonly data: DataArray;
  /** Always in memory. */
  readonly location = "cpu";

  /** @throws {EmbervecError} `invalid_input` if the number of values is not that of the dimensions */
  constructor(type: DataType, data: DataArray | readonly (number | boolean)[], dims: readonly number[]) {
    if (!Object.hasOwn(ARRAYS, type)) {
      throw invalid(`type "${type}" is not supported; there are: ${Object.keys(ARRAYS).join(", ")}`);
    }
    this.type = type;
    if (Array.isArray(data)) {
      this.data = arrayOf(type, data.length);
      this.data.set(data.map(Number));
    } else {
      this.data = data as DataArray;
    }
    this.dims = [...dims];
    if (this.data.length !== sizeOf(dims)) {
      throw invalid(`${this.data.length} numbers cannot have the dimensions [${dims.join(", ")}]`);
    }
    // For `tensor[i]`.
    return new Proxy(this, {
      get: (target, key) => {
        if (typeof key === "string" && /^-?\d+$/.test(key)) return partOf(target, Number(key));
        if (MISSING.includes(key as string))
          throw invalid(`"${String(key)}" is not supported by embervec/transformers`);
        return Reflect.get(target, key) as unknown;
      },
    });
  }

  /** How many numbers there are. */
  get size(): number {
    return this.data.length;
  }

  /** The numbers of one dimension, or the parts of the first of several. */
  // oxlint-disable-next-line typescript/no-explicit-any -- numbers of one dimension, tensors of more
  *[Symbol.iterator](): Generator<any, void, undefined> {
    if (this.dims.length < 2) yield* this.data;
    else for (let i = 0; i < this.dims[0]!; i++) yield partOf(this, i);
  }

  /** The number of a tensor that has one. */
  item(): number {
    if (this.size !== 1) throw invalid(`item() is for one number, not for ${this.size}`);
    return this.data[0]!;
  }

  /** The numbers in nested arrays. */
  tolist(): NestedArray {
    const [length = 1, ...dims] = this.dims;
    if (dims.length === 0) return Array.from(this.data);
    return Array.from({ length }, (_, i) => partOf(this, i).tolist());
  }

  /** A copy. */
  clone(): Tensor {
    return new Tensor(this.type, this.data.slice(), this.dims);
  }

  /** Nothing is held that would have to be given back. */
  dispose(): void {}

  /** How far apart neighbours in each dimension are in {@link Tensor.data}. */
  stride(): number[] {
    return stridesOf(this.dims);
  }

  // --- each number -----------------------------------------------------------------------------------------------

  /** Changes this tensor, as all methods whose name ends with `_`. */
  map_(callback: (value: number, index: number, data: DataArray) => number): this {
    const { data } = this;
    for (let i = 0; i < data.length; i++) data[i] = callback(data[i]!, i, data);
    return this;
  }
  /** A tensor of the callback's results. */
  map(callback: (value: number, index: number, data: DataArray) => number): Tensor {
    return this.clone().map_(callback);
  }
  /** Multiplies each number. */
  mul_(value: number): this {
    return this.map_((x) => x * value);
  }
  /** As {@link Tensor.mul_}, in a copy. */
  mul(value: number): Tensor {
    return this.clone().mul_(value);
  }
  /** Divides each number. */
  div_(value: number): this {
    return this.map_((x) => x / value);
  }
  /** As {@link Tensor.div_}, in a copy. */
  div(value: number): Tensor {
    return this.clone().div_(value);
  }
  /** Adds to each number. */
  add_(value: number): this {
    return this.map_((x) => x + value);
  }
  /** As {@link Tensor.add_}, in a copy. */
  add(value: number): Tensor {
    return this.clone().add_(value);
  }
  /** Subtracts from each number. */
  sub_(value: number): this {
    return this.map_((x) => x - value);
  }
  /** As {@link Tensor.sub_}, in a copy. */
  sub(value: number): Tensor {
    return this.clone().sub_(value);
  }
  /** Changes each number's sign. */
  neg_(): this {
    return this.map_((x) => -x);
  }
  /** As {@link Tensor.neg_}, in a copy. */
  neg(): Tensor {
    return this.clone().neg_();
  }
  /** Rounds each number. */
  round_(): this {
    return this.map_(Math.round);
  }
  /** As {@link Tensor.round_}, in a copy. */
  round(): Tensor {
    return this.clone().round_();
  }
  /** Limits each number to a range. */
  clamp_(min: number, max: number): this {
    return this.map_((x) => Math.min(Math.max(x, min), max));
  }
  /** As {@link Tensor.clamp_}, in a copy. */
  clamp(min: number, max: number): Tensor {
    return this.clone().clamp_(min, max);
  }
  /** Applies the logistic function to each number. */
  sigmoid_(): this {
    return this.map_((x) => 1 / (1 + Math.exp(-x)));
  }
  /** As {@link Tensor.sigmoid_}, in a copy. */
  sigmoid(): Tensor {
    return this.clone().sigmoid_();
  }
  /** Whether each number is greater than a value. */
  gt(value: number): Tensor {
    return new Tensor(
      "bool",
      Uint8Array.from(this.data, (x) => (x > value ? 1 : 0)),
      this.dims,
    );
  }
  /** Whether each number is less than a value. */
  lt(value: number): Tensor {
    return new Tensor(
      "bool",
      Uint8Array.from(this.data, (x) => (x < value ? 1 : 0)),
      this.dims,
    );
  }
  /** The same numbers in another type. */
  to(type: DataType): Tensor {
    return type === this.type ? this : new Tensor(type, Array.from(this.data), this.dims);
  }

  // --- shape -----------------------------------------------------------------------------------------------------

  /**
   * For each dimension a number (that place), `[start, end]` (a range), or `null` (all of it); negative ones count from the end.
   */
  slice(...slices: (number | readonly (number | null)[] | null | undefined)[]): Tensor {
    const kept: number[] = [];
    const ranges = this.dims.map((size, i) => {
      const slice = slices[i] ?? [null, null];
      if (typeof slice === "number") {
        const at = indexIn(slice, size);
        return [at, at + 1] as const;
      }
      const [from, to] = [slice[0] ?? 0, slice[1] ?? size].map((at) =>
        Math.min(Math.max(at < 0 ? at + size : at, 0), size),
      ) as [number, number];
      if (slice.length !== 2 || from > to)
        throw invalid(`[${slice.join(", ")}] is no range of a dimension of size ${size}`);
      kept.push(to - from);
      return [from, to] as const;
    });
    const strides = this.stride();
    const source = this.data;
    const data = arrayOf(this.type, sizeOf(ranges.map(([from, to]) => to - from)));
    let place = 0;
    const copy = (dim: number, offset: number) => {
      if (dim === ranges.length) {
        data[place++] = source[offset]!;
        return;
      }
      const [from, to] = ranges[dim]!;
      for (let i = from; i < to; i++) copy(dim + 1, offset + i * strides[dim]!);
    };
    copy(0, 0);
    return new Tensor(this.type, data, kept);
  }

  /** The dimensions in another order. */
  permute(...axes: number[]): Tensor {
    if ([...axes].sort((a, b) => a - b).some((axis, i) => axis !== i) || axes.length !== this.dims.length) {
      throw invalid(`permute takes each of the ${this.dims.length} dimensions once, not ${axes.join(", ")}`);
    }
    const dims = axes.map((axis) => this.dims[axis]!);
    const strides = axes.map((axis) => this.stride()[axis]!);
    const steps = stridesOf(dims);
    const source = this.data;
    const data = arrayOf(this.type, this.size);
    for (let i = 0; i < data.length; i++) {
      data[i] = source[dims.reduce((sum, dim, d) => sum + (Math.floor(i / steps[d]!) % dim) * strides[d]!, 0)]!;
    }
    return new Tensor(this.type, data, dims);
  }
  /** As {@link Tensor.permute}. */
  transpose(...axes: number[]): Tensor {
    return this.permute(...axes);
  }

  /** The same numbers, with other dimensions; one of them may be -1. */
  view(...dims: number[]): Tensor {
    const rest = sizeOf(dims.filter((dim) => dim !== -1));
    return new Tensor(
      this.type,
      this.data,
      dims.map((dim) => (dim === -1 ? this.size / rest : dim)),
    );
  }
  /** Removes dimensions of size 1: all of them, or those that are given. */
  squeeze_(dim: number | readonly number[] | null = null): this {
    const chosen = dim === null ? undefined : [dim].flat().map((each) => indexIn(each, this.dims.length));
    this.dims = this.dims.filter((size, i) => size !== 1 || (chosen && !chosen.includes(i)));
    return this;
  }
  /** As {@link Tensor.squeeze_}, as a view. */
  squeeze(dim: number | readonly number[] | null = null): Tensor {
    return new Tensor(this.type, this.data, this.dims).squeeze_(dim);
  }
  /** Inserts a dimension of size 1. */
  unsqueeze_(dim: number): this {
    this.dims.splice(indexIn(dim, this.dims.length + 1), 0, 1);
    return this;
  }
  /** As {@link Tensor.unsqueeze_}, as a view. */
  unsqueeze(dim: number): Tensor {
    return new Tensor(this.type, this.data, this.dims).unsqueeze_(dim);
  }
  /** Merges the dimensions from `start` to `end`. */
  flatten_(start = 0, end = -1): this {
    const last = indexIn(end, this.dims.length);
    const flat = sizeOf(this.dims.slice(start, last + 1));
    this.dims = [...this.dims.slice(0, start), flat, ...this.dims.slice(last + 1)];
    return this;
  }
  /** As {@link Tensor.flatten_}, in a copy. */
  flatten(start = 0, end = -1): Tensor {
    return this.clone().flatten_(start, end);
  }

  // --- over a dimension ------------------------------------------------------------------------------------------

  /** The sum of all numbers, or along a dimension. */
  sum(dim: number | null = null, keepdim = false): Tensor {
    return reduce(this, dim, keepdim, (values) => values.reduce((a, b) => a + b, 0));
  }
  /** The mean of all numbers, or along a dimension. */
  mean(dim: number | null = null, keepdim = false): Tensor {
    return reduce(this, dim, keepdim, (values) => values.reduce((a, b) => a + b, 0) / values.length);
  }
  /** The smallest number of all, or along a dimension. */
  min(dim: number | null = null, keepdim = false): Tensor {
    return reduce(this, dim, keepdim, (values) => values.reduce((a, b) => Math.min(a, b), Infinity));
  }
  /** The largest number of all, or along a dimension. */
  max(dim: number | null = null, keepdim = false): Tensor {
    return reduce(this, dim, keepdim, (values) => values.reduce((a, b) => Math.max(a, b), -Infinity));
  }
  /** The p-norm of all numbers, or along a dimension. */
  norm(p: number | "fro" = "fro", dim: number | null = null, keepdim = false): Tensor {
    const power = p === "fro" ? 2 : p;
    return reduce(
      this,
      dim,
      keepdim,
      (values) => values.reduce((sum, x) => sum + Math.abs(x) ** power, 0) ** (1 / power),
    );
  }
  /** Divides by the p-norm along a dimension. */
  normalize_(p = 2, dim = 1): this {
    const at = indexIn(dim, this.dims.length);
    const norms = this.norm(p, at, true);
    const inner = sizeOf(this.dims.slice(at + 1));
    const outer = inner * this.dims[at]!;
    const { data } = norms;
    return this.map_((x, i) => x / data[Math.floor(i / outer) * inner + (i % inner)]!);
  }
  /** As {@link Tensor.normalize_}, in a copy. */
  normalize(p = 2, dim = 1): Tensor {
    return this.clone().normalize_(p, dim);
  }
}

/** The part `index` of the first dimension; a view. */
function partOf({ type, data, dims }: Tensor, index: number): Tensor {
  const [length = 0, ...rest] = dims;
  const at = indexIn(index, length);
  const size = sizeOf(rest);
  return new Tensor(type, data.subarray(at * size, (at + 1) * size), rest);
}

/** Over all numbers where `dim` is null. */
function reduce(
  { type, data, dims }: Tensor,
  dim: number | null,
  keepdim: boolean,
  fold: (values: number[]) => number,
): Tensor {
  if (dim === null) return new Tensor(type, [fold(Array.from(data))], []);
  const at = indexIn(dim, dims.length);
  const length = dims[at]!;
  const inner = sizeOf(dims.slice(at + 1));
  const result = arrayOf(type, data.length / length);
  for (let i = 0; i < result.length; i++) {
    const first = Math.floor(i / inner) * inner * length + (i % inner);
    result[i] = fold(Array.from({ length }, (_, j) => data[first + j * inner]!));
  }
  return new Tensor(
    type,
    result,
    dims.flatMap((size, i) => (i !== at ? size : keepdim ? 1 : [])),
  );
}

/** Tensors one after another, along a dimension. */
export function cat(tensors: readonly Tensor[], dim = 0): Tensor {
  const [first] = tensors;
  if (!first) throw invalid("cat needs a tensor");
  const at = indexIn(dim, first.dims.length);
  const dims = first.dims.map((size, i) =>
    i === at ? tensors.reduce((sum, tensor) => sum + tensor.dims[at]!, 0) : size,
  );
  const data = arrayOf(first.type, sizeOf(dims));
  const outer = sizeOf(dims.slice(0, at));
  let place = 0;
  for (let i = 0; i < outer; i++) {
    for (const tensor of tensors) {
      const size = tensor.size / outer;
      data.set(tensor.data.subarray(i * size, (i + 1) * size), place);
      place += size;
    }
  }
  return new Tensor(first.type, data, dims);
}

/** Tensors one after another, along a new dimension. */
export function stack(tensors: readonly Tensor[], dim = 0): Tensor {
  return cat(
    tensors.map((tensor) => tensor.unsqueeze(dim)),
    dim,
  );
}

/** The product of two matrices. */
export async function matmul(a: Tensor, b: Tensor): Promise<Tensor> {
  const [rows = 0, inner = 0] = a.dims;
  const [innerB = 0, columns = 0] = b.dims;
  if (a.dims.length !== 2 || b.dims.length !== 2 || inner !== innerB) {
    throw invalid(`matmul multiplies two matrices, not [${a.dims.join(", ")}] and [${b.dims.join(", ")}]`);
  }
  const [dataA, dataB] = [a.data, b.data];
  const data = arrayOf(a.type, rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++) sum += dataA[i * inner + k]! * dataB[k * columns + j]!;
      data[i * columns + j] = sum;
    }
  }
  return new Tensor(a.type, data, [rows, columns]);
}

/** Layer normalisation of each row of a matrix, without weights. */
export function layer_norm(input: Tensor, shape: readonly number[], { eps = 1e-5 } = {}): Tensor {
  const [, length] = input.dims;
  if (input.dims.length !== 2 || shape.length !== 1 || shape[0] !== length) {
    throw invalid("layer_norm takes a matrix, and the length of its rows");
  }
  const rows = Array.from({ length: input.dims[0]! }, (_, i) => {
    const row = input[i]!;
    const mean = row.mean().item();
    // As there: added to the deviation, not to the variance.
    const deviation =
      Math.sqrt(
        row
          .sub(mean)
          .map((x) => x * x)
          .mean()
          .item(),
      ) + eps;
    return row.map((x) => (x - mean) / deviation);
  });
  return stack(rows);
}
