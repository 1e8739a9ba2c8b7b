/**
 * What elements and documents have of their own. A form has its fields as properties, and a document its forms, frames and pictures:
 * `<input name="id">` takes the place of the form's id.
 */

function getter<Target, Key extends keyof Target>(
  type: { prototype: Target },
  key: Key,
): (target: Target) => Target[Key] {
  const { get } = Object.getOwnPropertyDescriptor(type.prototype, key)!;
  return (target) => get!.call(target) as Target[Key];
}

export const nodeTypeOf = getter(Node, "nodeType");
export const nextSiblingOf = getter(Node, "nextSibling");
export const firstChildOf = getter(Node, "firstChild");
export const parentElementOf = getter(Node, "parentElement");
export const idOf = getter(Element, "id");
export const classNameOf = getter(Element, "className");
export const openShadowOf = getter(Element, "shadowRoot");
export const bodyOf = getter(Document, "body");
export const rootOf = getter(Document, "documentElement");
export const titleOf = getter(Document, "title");
export const contentTypeOf = getter(Document, "contentType");

const tagName = getter(Element, "tagName");
const ownerDocument = getter(Node, "ownerDocument");
const defaultView = getter(Document, "defaultView");

/** In capitals also in XHTML and SVG. */
export function tagNameOf(element: Element): string {
  return tagName(element).toUpperCase();
}

export function attributeOf(element: Element, name: string): string | null {
  return Element.prototype.getAttribute.call(element, name);
}

export function documentOf(node: Node): Document {
  return ownerDocument(node) ?? document;
}

export function viewOf(node: Node): Window & typeof globalThis {
  return defaultView(documentOf(node)) ?? window;
}
