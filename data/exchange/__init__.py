"""What annotation tools export, as datasets that the readers open: python -m data.exchange.

COCO JSON, which CVAT and most others export, needs no conversion.
"""
