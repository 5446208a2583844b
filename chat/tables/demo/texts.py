"""What customers of a made-up shop write. `{order}`, `{product}` and `{date}` are filled in."""

from __future__ import annotations


def _read(text: str, space: str) -> list[tuple[str, str]]:
    """Subject and message of each block; lines of a message are joined by `space`."""
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return [(subject, space.join(lines)) for subject, *lines in blocks]


ENGLISH = _read(
    """
Where is my parcel?
I ordered a {product} on {date} (order {order}). The tracking page has said "in transit" for
six days now. Could you find out where it is?

Wrong item delivered
Instead of the {product} I got a phone case. The order number on the box is {order}, so it
is not my mistake. Please send the right item.

Screen cracked on arrival
The {product} arrived today with a crack across the display. The packaging was fine. I
attached two photos. What should I do?

Refund not received
You confirmed the return of order {order} on {date}, but there is still no money on my card.
My bank says nothing is pending.

Charged twice
My statement shows two identical charges for order {order}. I only bought one {product}.
Please reverse one of them.

Cannot log in
After the update on {date} the app says my password is wrong. I reset it twice and it still
does not work. I need my invoices for {order}.

Change of address
I am moving next week. Can order {order} with the {product} be sent to my new address
instead? It has not shipped yet.

Battery drains overnight
My {product} loses 40 % overnight without being used. I bought it on {date}. Is this covered
by the warranty?

Invoice with VAT number
Our accounting needs the invoice of {order} with our VAT number on it. The shop does not let
me enter one.

Cancel my subscription
Please cancel the premium plan at the end of the month. I could not find a button for it
anywhere. Order {order}.

Great service
Just wanted to say thank you: the replacement for my {product} came within a day. Well done!

Discount code rejected
The code SPRING10 from your newsletter of {date} is not accepted for the {product}. It says
it has expired, but the mail says it is valid until Sunday.

Missing charger
There was no charger in the box of the {product}. The description says one is included.
Order {order}.

Bluetooth keeps disconnecting
The {product} drops the connection every few minutes, with two different phones. Firmware is
the newest one.

Is it compatible?
Does the {product} work with a 2019 laptop that only has USB-A? I would like to know before
I order.

Delivery slot
I took {date} off for the delivery of {order} and nobody came. The driver marked it as
"customer absent", which is not true. I am quite annoyed.

Data deletion request
Please delete my account and all personal data, and confirm it in writing. My last order was
{order}.

Bulk order
We would like to order 40 pieces of the {product} for our office. Is there a price for that
quantity, and can you deliver by {date}?

Manual in English
My {product} came with a manual in Chinese only. Where can I download the English one?

Smells of burning
The {product} gets very hot and smells of burning after ten minutes. I have unplugged it. Is
it safe? Order {order}.

Gift wrapping
Can you still add gift wrapping to order {order}? The {product} is a birthday present for
{date}.

App crashes on start
Since yesterday the app closes right after it opens. Phone restarted, app reinstalled, no
change. I use it with the {product}.

Exchange for another colour
I would like to exchange the {product} from order {order} for the black one. It is unopened.
Who pays for the return?

Payment failed but money gone
The payment for {order} failed with error 502, but the money has left my account. Was the
{product} ordered or not?

Spam from your shop
I unsubscribed from the newsletter on {date} and still get three mails a day. This is the
fourth time I am asking.
""",
    " ",
)
CHINESE = _read(
    """
包裹一直没有更新
我在 {date} 下单的{product}（订单号 {order}），物流信息已经五天没有更新了，麻烦帮忙
查一下到哪里了。

发错货了
我买的是{product}，收到的却是一个手机壳。箱子上的订单号是 {order}，请尽快补发正确的
商品。

收到时屏幕已经碎了
今天收到的{product}屏幕有一道很长的裂痕，外包装完好。照片已经上传，请问怎么处理？

退款还没到账
订单 {order} 的退货你们在 {date} 就确认了，可是钱到现在也没退回来，银行那边说没有记
录。

重复扣款
同一个订单 {order} 扣了两次钱，我只买了一台{product}，请把多扣的退给我。

无法登录账号
{date} 更新之后一直提示密码错误，重置了两次也不行。我急着下载订单 {order} 的发票。

修改收货地址
我下周搬家，订单 {order} 的{product}还没有发货，能不能改成新的地址？

电池耗电太快
{product}放一个晚上不用就掉百分之四十的电，{date} 才买的，这个在保修范围内吗？

开具增值税专用发票
公司报销需要订单 {order} 的增值税专用发票，页面上没有填写税号的地方，请问怎么办理？

取消会员续费
请在月底取消我的会员，不要再自动扣费了，我在哪里都找不到取消的按钮。订单号 {order}。

服务很好
换货的{product}第二天就到了，客服态度也很好，特地来表扬一下，谢谢！

优惠码不能用
{date} 邮件里的优惠码 SPRING10 买{product}的时候提示已过期，但是邮件上写的是本周日之
前有效。

少了充电器
{product}的盒子里没有充电器，商品页面写的是包含的，订单号 {order}，请补寄。

蓝牙总是断开
{product}每隔几分钟就断开一次，换了两部手机都一样，固件已经是最新的了。

购买前咨询
请问{product}能不能连接 2019 年只有 USB-A 接口的笔记本？想确认以后再下单。

约好的时间没有送货
为了收订单 {order} 我 {date} 专门请了假，结果没有人来，系统却写着“收件人不在”，非
常不满意。

申请注销账号
请注销我的账号并删除所有个人信息，完成后书面回复我。最近一次的订单是 {order}。

批量采购
我们公司想采购 40 台{product}，请问有没有团购价，{date} 之前能不能送到？

需要中文说明书
我收到的{product}只有英文说明书，请问在哪里可以下载中文版？

有烧焦的味道
{product}用了十分钟就很烫，还有烧焦的味道，我已经拔掉电源了。这样安全吗？订单号 {ord
er}。

可以加礼品包装吗
订单 {order} 里的{product}是 {date} 的生日礼物，现在还能加礼品包装吗？

应用一打开就闪退
从昨天开始应用一打开就退出，重启手机、重新安装都没有用，我是配合{product}使用的。

想换一个颜色
订单 {order} 的{product}还没有拆封，想换成黑色的，请问运费由谁承担？

支付失败但是扣了钱
订单 {order} 支付的时候提示 502 错误，可是钱已经扣了，请问{product}到底下单成功没有？

一直收到广告邮件
我 {date} 就退订了，每天还是收到三封邮件，这已经是第四次反馈了。
""",
    "",
)
PRODUCTS = (
    ("smart watch", "智能手表"),
    ("desk lamp", "台灯"),
    ("wireless earbuds", "无线耳机"),
    ("robot vacuum", "扫地机器人"),
    ("tablet", "平板电脑"),
    ("coffee machine", "咖啡机"),
    ("electric toothbrush", "电动牙刷"),
    ("e-book reader", "电子书阅读器"),
)
ENGLISH_NAMES = (
    *("Olivia Brown", "Noah Smith", "Amelia Jones", "Liam Wilson", "Mia Taylor"),
    *("Ethan Clark", "Sophie Evans", "Lucas Martin", "Chloe Lewis", "Oscar Hall"),
)
CHINESE_NAMES = ("王芳", "李伟", "张敏", "刘洋", "陈静", "杨帆", "赵磊", "黄丽", "周杰", "吴婷")
